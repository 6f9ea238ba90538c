// Package httpapi is the ledger's door for HTTP (RFC 9110): append, query, verify, status, health,
// metrics, and the page for people.
//
// It decides nothing about events. A body is validated by the ledger, given its place by the stream, and answered once
// the ledger has committed it; what is served are the stored bytes, never a copy that was parsed and written again. Every
// answer that is not a success is a problem (RFC 9457).
//
// # Appending
//
//	decode -> publish -> wait for the commit -> answer with the stored line
//
// 201 is given for committed events only. Between publishing and committing the client may go away or lose patience:
// publishing is detached from its connection, and a commit that takes longer than CommitTimeout answers 202 with the id.
// An answer that invites to send the event again is given only where nothing is known to be in the stream, or where the
// ledger has stopped.
//
// # Following
//
// A follower (GET /events/stream) reads the ledger from its own position whenever something was committed. Nothing is kept
// for it and nobody sends to it: a client that is slow, or gone, or resumes an hour later, is the same case.
//
// # Who may do what
//
// auth.go: a token has scopes and may be limited to categories; a route says which scope it needs, and every filter is
// made for the token that asks. limits.go: how much clients may take at a time, so that one cannot shut the others out.
//
// # Reading order
//
// api.go has the routes and the rule how an error becomes an answer (problem.go has its form); then append.go
// (body.go reads what it is given), query.go, follower.go, verify.go and status.go, one for each group of calls;
// openapi.yaml describes them. metrics.go has what is counted, collect.go what is asked at a scrape. page.go is the page:
// templates in page/, filled from the ledger as the calls are; its scripts ask for the same templates again, part by part.
package httpapi
