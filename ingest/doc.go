// Package ingest brings events into the ledger: it runs NATS (embedded, or
// connects to one elsewhere), owns the JetStream stream, publishes what came
// in over HTTP, and projects the stream into the ledger with one consumer.
//
// The stream decides the order: an event's id is its stream sequence. The
// ledger holds the consumer's position, so the consumer is ordered, without
// acknowledgements, and begins at the ledger's last id + 1.
//
//	server.go     the embedded server: accounts, limits, listener
//	login.go      who may come in to it, and his permissions
//	connect.go    the store's connection: login, TLS, reconnecting
//	stream.go     the stream's configuration, making it
//	reconcile.go  comparing stream and ledger before anything is projected
//	move.go       moving a branched stream's messages behind the ledger's last:
//	mover.go      which replica does it,
//	copy.go       its copying, and
//	again.go      its publishing
//	consume.go    Run: one consumer after the other, projecting
//	care.go       watching the stream: its settings, its state, trimming
//	warn.go       what is about to lose events, or did: fullness, lag, drops
//	replica.go    the positions of all stores on the stream
//	trim.go       removing from the stream what all of them have
//	queue.go      what was read and not projected yet
//	own.go        the store's own messages and the head
//	publish.go    Append and AppendBatch
//	epoch.go      how long an acknowledgement holds
//
// # Who may do what
//
// The account STORE of the embedded server holds JetStream and the stream; only
// this process is in it, through no listener and with a random password. Every
// publisher's connection is in an account of its own, which has no JetStream,
// imports `events.>` as a service and the head as a stream, and nothing more.
//
// Why not one: JetStream answers a publish on the reply subject that the publisher
// chose, with the server's own rights, inside the stream's account. In one
// account a publish with the reply `$JS.API.STREAM.DELETE.EVENTS` whose
// acknowledgement is empty (a message inside an atomic batch) would be a valid
// request to delete the stream. Across a service import the reply stays in the
// publisher's account, where that subject means nothing. And in one account
// for all of them a subscription to `_INBOX.>` would hear everybody's answers.
//
// An operator's own nats-server configuration (Options.ServerConfig) that
// defines accounts or users must do the same, and must give the store a user:
// the in-process connection then uses Options.Login.
package ingest
