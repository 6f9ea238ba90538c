// Package ledger keeps a hash chain of events in a folder. It knows neither
// NATS nor HTTP.
//
// # The chain
//
// The ledger is a projection of a stream: message n becomes the event whose id
// is n, in 12 lower-case hex digits. The projection is total (what is no event
// becomes an event_rejected event) and deterministic: the same messages give
// the same bytes on every machine. An event is one line of JSON with its
// fields in this order:
//
//	id, timestamp, category, action, actor, target, data, result, error, previous_hash, hash
//
// hash is the lower-case hex SHA-256 of the RFC 8785 canonical JSON of the
// event without hash, integers keeping their digits. All values of a line are
// canonical already, so that the pre-image is the line's own values, sorted by
// name: nothing is parsed in general to verify a line. previous_hash is the
// hash of the event before, 64 zeros in the first.
//
// A line has at most 1.5 MiB: a publisher's canonical form at most 1 MiB, and of
// a message that is no event the first 1 MiB are kept, which is all of it under
// the stream's own max_msg_size. Whoever reads a folder keeps 4 MiB of a line at
// most: what is longer is damage, and what is behind it is read.
//
// Ids are contiguous. Where the stream has a hole, one event of category
// ledger, events_missing, takes the last missing id and names the first and
// last.
//
// # Files
//
//	events_20251224_100000.jsonl          a plain segment, named by its first event's time
//	events_20251223_100000.jsonl.gz       a sealed one: gzip members of about 256 KiB cut at line ends
//	events_20251223_100000.manifest.json  what was sealed
//	index/events_20251223_100000.idx      where to find what in it; derived
//	ledger.key, ledger.pub, LOCK, reserve
//
// A segment ends before the event that would take it above 100 MB or that is
// more than 24 h younger than its first. A name that exists gets _<first id>.
// The last plain segment is the active one; the others are waiting to be sealed.
//
// A manifest is canonical JSON; see Manifest. Its digest is the SHA-256 of it
// without category_map, for which category_map_sha256 stands, because
// compressors differ. The digest is chained by a segment_sealed event.
//
// A gzip member's header has an extra field (RFC 1952, section 2.3.1.1) "ES":
// the length and the CRC-32C of the compressed bytes, 4 bytes each, little-endian.
// All the rest of the header is constant. So every flipped bit is found, also
// one that would inflate to the same lines. The category map is one such member.
// Nothing tells a file that somebody packed again from one with such a bit: its
// lines are read and served, and verification names the packing all the same.
// Unpacked, the .jsonl alone is what was sealed, and the store packs it again.
//
// reserve is a file of 16 MiB that is given up when the disk is full, so that
// a retention pass can chain its decision and rewrite segments. It is made
// again once there is room for it and 8 MiB more; until then Full says so.
//
// # Own events
//
// segment_sealed and ledger_configured come from the store itself, through the
// stream, signed: data carries a member signature, the signature line of a
// signed note (golang.org/x/mod/sumdb/note) whose text is
//
//	event-store/<action>
//	<canonical JSON of data without signature>
//
// The projection believes one only when the signature holds and it derives the
// same itself. A ledger_configured names the event whose configuration it
// replaces (000000000000: the defaults), so that sending an old one again
// changes nothing.
//
// # Testimonies
//
// The store also says what happens to itself, in categories of publishers, so
// that it ages like them:
//
//	logins_refused          security   how many, since when, from where
//	configuration_changed   config     which settings, from what to what
//	cleanup_requested       config     a clean-up by hand: whose token, from where
//
// They are messages on eventstore.ledger.<action> signed like the other own
// ones. Data has a nonce and the time of the signature, at; a message whose
// event's timestamp is more than an hour from at is rejected. Within the hour it
// can be sent again by who may publish there: that is the same event once more,
// as its nonce shows, and as no state depends on testimonies it has no effect.
// [To reject it the projection would have to remember nonces, and could not
// after a restart, when they have aged out: replicas would differ.] Where the
// category is not configured they are of category error. An event of another
// category than ledger by actor event-store that is neither one of them, with
// its signature, nor an event_rejected, is a finding of verification.
//
// # Ageing out
//
// events_aged_out is a signed decision: per segment its first_id, the digest of
// its manifest, and categories with their counts. It is believed only when the
// chained policies let every cell (segment, category) go at the decision's own
// timestamp. Then the .gz is rewritten, each run of aged-out events as one line:
//
//	{"aged_out":{"first_id":"…","last_id":"…","count":3},"previous_hash":"<of the first>","hash":"<of the last>"}
//
// # Damaged files
//
// The chain says what was sealed and what was decided; files that somebody
// changed do not change that. At the start each ended segment is held against
// its seal (see vouch). One that differs is read as far as it goes and stays as
// it is: it is not sealed, nothing of it ages out, and a message of another
// replica that only its true manifest can judge stops the projection until the
// right files are back. So does one that depends on own events that cannot be
// read (see unread): the seal of a segment that is gone, a decision whose seal or
// policies are lost. Behind a line that says that it was the last
// ledger_configured nothing is projected, nor, where the configuration in force
// is not the wanted one, behind what may have been it: under another
// configuration other events would be chained. Other damage in an old segment
// stops nothing. Who has no right file takes the damaged one out of the folder, and
// its events are missing. Of a publisher's event it is enough to be legible as
// one: no other depends on it.
//
// Of a .jsonl and a .jsonl.gz of one segment the .gz wins that its manifest fits,
// whole or with gaps, else the .jsonl that it fits. A manifest that is gone is
// written again from whole lines; the one of a rewritten segment cannot be.
//
// The chain goes on only from a last line that is sound, whose id can be its
// own, and behind which no other segment's events are. An id that does not
// follow, in a line that says it does or whose hash does not hold, is nobody's:
// it moves no tail. Where the active segment is gone the tail is the last sealed
// one's: by its lines, not by its manifest, for which no seal vouches then. A
// commit looks first whether the active file is as the last one left it.
//
// # Indexes
//
// An index says which positions of a segment hold which category, action,
// actor, target and result (compressed bitmaps), where the members of its .gz
// are, and where its hours begin, which makes a time range a range of
// positions: timestamps never fall. A position is an id less the segment's
// first. The active segment's index grows in memory, fed by the projection; at
// sealing it becomes a file. See index for the format.
//
// An index is derived and may be deleted at any time. Its file names the
// manifest and the size of the .gz that it was made for, and every part has a
// checksum: one that does not fit is made again, and until then the lines are
// read. What a query finds by it is compared with the filter again; what it
// hides is verification's to find.
//
// # Goroutines
//
// Project chains messages onto the tail (one caller); the committer writes and
// fsyncs what was projected while the next batch is projected, then publishes
// a new view and tells who waits; the sealer compresses ended segments,
// rewrites those of which something aged out, and makes indexes. Readers
// take the last view, which never changes, and wait for nobody.
package ledger
