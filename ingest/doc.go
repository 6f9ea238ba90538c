// Package ingest brings events into the ledger: it runs NATS (embedded, or
// connects to one elsewhere), owns the JetStream stream, publishes what came
// in over HTTP, and projects the stream into the ledger with one consumer.
//
// The stream decides the order: an event's id is its stream sequence. The
// ledger holds the consumer's position, so the consumer is ordered, without
// acknowledgements, and begins at the ledger's last id + 1.
//
//	server.go     the embedded server: its account, limits, listener
//	gate.go       the listener for publishers,
//	relay.go      what it lets through, and
//	sender.go     how it writes
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
//	sent.go       the stream's acknowledgements, and who waits for them
//	epoch.go      how long an acknowledgement holds
//
// # Who may do what
//
// The embedded server has one account, STORE. The store is in it through no
// listener and with a random password; publishers come in through the gate and
// may publish `events.>` and hear their inboxes and the head, nothing more.
//
// The server's permissions say nothing of reply subjects, and JetStream answers a
// publish on the one that the publisher chose, with the server's own rights: a
// publish with the reply `$JS.API.STREAM.DELETE.EVENTS` whose acknowledgement is
// empty (a message inside an atomic batch) would be a valid request to delete
// the stream. And a subscription to `_INBOX.>` would hear everybody's answers.
// So the gate gives each connection inboxes of its own: `_INBOX.x` of a client is
// `_INBOX.N.x` inside, and so is every reply subject. It lets only operations
// through that it has understood wholly.
//
// An account for each publisher, which imports `events.>` as a service, would do
// the same without a gate, at twice the price of a publish: the server marshals
// a header for each message and keeps a mapping for each answer.
//
// An operator's own nats-server configuration (Options.ServerConfig) that
// defines accounts or users has no gate: it must give publishers such an account,
// and the store a user, which the in-process connection then uses (Options.Login).
package ingest
