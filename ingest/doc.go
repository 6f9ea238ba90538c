// Package ingest brings events into the ledger: it runs NATS (embedded, or
// connects to one elsewhere), owns the JetStream stream, publishes what came
// in over HTTP, and projects the stream into the ledger with one consumer.
//
// The stream decides the order: an event's id is its stream sequence. The
// ledger holds the consumer's position, so the consumer is ordered, without
// acknowledgements, and begins at the ledger's last id + 1.
//
//	server.go     the embedded server: accounts, permissions, listener
//	connect.go    the store's connection: login, TLS, reconnecting
//	stream.go     the stream's configuration, making it
//	reconcile.go  comparing stream and ledger before anything is projected
//	move.go       moving a branched stream's messages behind the ledger's last:
//	copy.go       its copying, and
//	again.go      its publishing
//	consume.go    Run: one consumer after the other, projecting
//	care.go       watching the stream: its settings, its state, trimming
//	warn.go       what is about to lose events, or did: fullness, lag, drops
//	queue.go      what was read and not projected yet
//	own.go        the store's own messages and the head
//	publish.go    Append and AppendBatch
//	epoch.go      how long an acknowledgement holds
//
// # Who may do what
//
// The embedded server has two accounts. STORE holds JetStream and the stream;
// only this process is in it, with a random password. PUBLISHERS is where
// everybody else is; it has no JetStream, imports `events.>` as a service and
// the head as a stream, and nothing more.
//
// Why two: JetStream answers a publish on the reply subject that the publisher
// chose, with the server's own rights, inside the stream's account. In one
// account a publish with the reply `$JS.API.STREAM.DELETE.EVENTS` whose
// acknowledgement is empty (a message inside an atomic batch) would be a valid
// request to delete the stream. Across a service import the reply stays in the
// publisher's account, where that subject means nothing.
//
// An operator's own nats-server configuration (Options.ServerConfig) that
// defines accounts or users must do the same, and must give the store a user:
// the in-process connection then uses Options.Login.
package ingest
