package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// A trouble is what happens to the NATS of a store.
type trouble struct {
	name    string
	down    bool // the store is down meanwhile
	quick   bool // runs in a short run too
	promise promise
	happen  func(t *testing.T, v *victim)
}

// A victim is a store, its NATS elsewhere, and the proxy between them.
// Publishers go to the NATS itself.
type victim struct {
	*node
	nats   *natsServer
	proxy  *toxiproxy.Proxy
	work   *work
	before string // a copy of the NATS server's folder from before the trouble
}

// What is not in the ledger yet goes with a stream that is purged, deleted or
// wiped: there the PubAcks before prove nothing.
var (
	only201  = promise{}
	otherIDs = promise{pubAcks: true}
)

var troubles = []trouble{
	{"gone for a while", false, true, wholePromise, func(t *testing.T, v *victim) {
		v.nats.stop()
		time.Sleep(time.Second)
		v.nats.start(t)
	}},
	{"gone while the store starts", true, false, wholePromise, func(t *testing.T, v *victim) {
		v.nats.stop()
		time.AfterFunc(time.Second, func() { v.nats.start(t) })
	}},
	{"paused", false, false, wholePromise, func(t *testing.T, v *victim) {
		v.toxic(t, `{"name":"d","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
		v.toxic(t, `{"name":"u","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`)
		time.Sleep(3 * time.Second)
		v.proxy.Toxics.ResetToxics(context.Background())
	}},
	{"reset again and again", false, false, wholePromise, func(t *testing.T, v *victim) {
		for range 5 {
			v.toxic(t, `{"name":"r","type":"reset_peer","stream":"downstream","attributes":{"timeout":50}}`)
			time.Sleep(300 * time.Millisecond)
			v.proxy.Toxics.ResetToxics(context.Background())
			time.Sleep(300 * time.Millisecond)
		}
	}},
	{"slow, in small pieces", false, false, wholePromise, func(t *testing.T, v *victim) {
		v.toxic(t, `{"name":"l","type":"latency","stream":"downstream","attributes":{"latency":150,"jitter":100}}`)
		v.toxic(t, `{"name":"b","type":"bandwidth","stream":"upstream","attributes":{"rate":64}}`)
		v.toxic(t, `{"name":"s","type":"slicer","stream":"downstream","attributes":{"average_size":97,"size_variation":50,"delay":10}}`)
		time.Sleep(3 * time.Second)
		v.proxy.Toxics.ResetToxics(context.Background())
	}},
	{"wiped while the store runs", false, false, only201, wipe},
	{"wiped while the store is down", true, false, only201, wipe},
	{"purged while the store runs", false, false, only201, purge},
	{"purged while the store is down", true, false, only201, purge},
	{"deleted while the store runs", false, false, only201, remove},
	{"deleted while the store is down", true, false, only201, remove},
	{"branched while the store runs", false, true, otherIDs, branch},
	{"branched while the store is down", true, false, otherIDs, branch},
}

func wipe(t *testing.T, v *victim) {
	v.nats.stop()
	v.nats.wipe(t)
	v.nats.start(t)
}

func purge(t *testing.T, v *victim) {
	v.operate(t, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, "EVENTS")
		if err != nil {
			return err
		}
		return s.Purge(ctx)
	})
}

func remove(t *testing.T, v *victim) {
	v.operate(t, func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, "EVENTS") })
}

// branch takes the NATS back to its folder of before: what it takes now gets
// ids that the ledger gave to other events.
func branch(t *testing.T, v *victim) {
	v.nats.stop()
	v.nats.wipe(t)
	if err := os.CopyFS(v.nats.dir, os.DirFS(v.before)); err != nil {
		t.Fatal(err)
	}
	v.nats.start(t)
	stop := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	v.work.publish(v.nats.url(), stop)
}

func (v *victim) operate(t *testing.T, do func(context.Context, jetstream.JetStream) error) {
	t.Helper()
	js, done := v.nats.stream(t)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := do(ctx, js); err != nil {
		t.Fatal(err)
	}
}

func (v *victim) toxic(t *testing.T, json string) {
	t.Helper()
	if _, err := v.proxy.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		t.Fatal(err)
	}
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	s := startNATS(t)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "nats", "127.0.0.1:0", s.srv.Addr().String())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	v := &victim{node: faultNode(t, t.TempDir()+"/data"), nats: s, proxy: proxy, work: newWork()}
	v.elsewhere(s)
	v.args = []string{"--nats-url", "nats://" + proxy.Listen}
	return v
}

// TestTroubleWithNATS: whatever happens to the NATS elsewhere, what was
// answered 201 is there, once, and the store goes on by itself.
func TestTroubleWithNATS(t *testing.T) {
	t.Parallel()
	for _, tr := range troubles {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			if *rounds < 100 && !tr.quick {
				t.Skip("only with -rounds 100")
			}
			newVictim(t).suffer(t, tr)
		})
	}
}

func (v *victim) suffer(t *testing.T, tr trouble) {
	v.start(t)
	brief := func() { time.Sleep(300 * time.Millisecond) }
	v.work.during(v.node, brief)
	v.caughtUp(t, "before")
	v.nats.stop()
	v.before = t.TempDir()
	if err := os.CopyFS(v.before, os.DirFS(v.nats.dir)); err != nil {
		t.Fatal(err)
	}
	v.nats.start(t)
	v.caughtUp(t, "before")
	v.work.during(v.node, brief)
	v.caughtUp(t, "before")
	if tr.down {
		v.kill(t)
		tr.happen(t, v)
		v.launch(t)
	} else {
		during := brief
		if tr.promise != otherIDs {
			during = func() { brief(); tr.happen(t, v); brief() }
		} else { // a branch must not take what the ledger does not have
			tr.happen(t, v)
		}
		v.work.during(v.node, during)
	}
	v.caughtUp(t, tr.name)
	acknowledged := len(v.work.http)
	if !tr.promise.pubAcks {
		v.work.nats = map[int64]told{} // from here on they hold again
		tr.promise = killedPromise
	}
	v.work.during(v.node, func() { v.work.underWay(t) })
	v.work.check(t, v.node, tr.promise, tr.name)
	if len(v.work.http) == acknowledged {
		t.Fatal("it takes nothing any more")
	}
	v.stop(t)
	must(t, "", "verify", "--data", v.dir)
	t.Logf("%d events answered 201, %d with a PubAck", len(v.work.http), len(v.work.nats))
}
