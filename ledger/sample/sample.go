// Package sample makes realistic events for benchmarks, tests and demos: what
// the services of a small team publish in a month. It is seeded: the same seed
// gives the same events.
package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// RareActor is the actor of one event in 100,000.
const RareActor = "user-rare99"

const (
	actors  = 50
	targets = 2000
	rareOne = 100_000
)

// A Generator makes events. It is for one goroutine.
type Generator struct {
	random *rand.Rand
	actor  *rand.Zipf
	target *rand.Zipf
	names  []string // of actors
	places []place
}

// A place is a target and what belongs to it.
type place struct{ name, container, host, image string }

// New gives the generator of a seed.
func New(seed uint64) *Generator {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	g := &Generator{random: r, actor: rand.NewZipf(r, 1.3, 2, actors-1), target: rand.NewZipf(r, 1.1, 8, targets-1)}
	roles := []string{"svc-traefik", "user-alice", "agent-backup", "cron-deploy", "node-watcher", "svc-gitea", "user-bob"}
	for i := range actors {
		g.names = append(g.names, fmt.Sprintf("%s%02d", roles[i%len(roles)], i))
	}
	kinds := []string{"container", "host", "dataset", "volume", "model", "job"}
	parts := []string{"cache", "mon", "media", "llm", "db", "web", "queue"}
	images := []string{"docker.io/library/postgres:16.4-alpine", "docker.io/ollama/ollama:0.12.3", "docker.io/library/redis:7.4-alpine",
		"docker.io/minio/minio:RELEASE.2026-08-01", "docker.io/grafana/grafana:12.1.0"}
	for i := range targets {
		name := fmt.Sprintf("%s/%s-%04d", kinds[i%len(kinds)], parts[i*7%len(parts)], i)
		id := sha256.Sum256([]byte(name))
		g.places = append(g.places, place{name, hex.EncodeToString(id[:]), fmt.Sprintf("node-%02d.home.lab", i%12), images[i%len(images)]})
	}
	return g
}

// kinds of events: a category's share in percent and its actions.
var kinds = []struct {
	category string
	share    int
	actions  []string
}{
	{"service", 40, []string{"container.start", "container.stop", "container.restart", "container.health", "container.pull"}},
	{"system", 16, []string{"package.update", "unit.start", "unit.fail", "disk.check", "boot"}},
	{"security", 14, []string{"login", "logout", "secret.read", "sudo", "key.rotate"}},
	{"ai", 12, []string{"model.load", "inference", "model.unload", "embedding"}},
	{"user", 9, []string{"file.upload", "file.share", "profile.edit", "search"}},
	{"config", 5, []string{"config.reload", "config.change", "flag.set"}},
	{"error", 4, []string{"panic", "timeout", "oom.kill"}},
}

// Next gives the next event as a publisher sends it, with its category also
// for the subject.
func (g *Generator) Next() (category string, event []byte) {
	r := g.random
	share, k := r.IntN(100), 0
	for ; share >= kinds[k].share; k++ {
		share -= kinds[k].share
	}
	actor := g.names[g.actor.Uint64()]
	if r.IntN(rareOne) == 0 {
		actor = RareActor
	}
	kind, at := kinds[k], &g.places[g.target.Uint64()]
	result, failure := "success", "null"
	if n := r.IntN(100); n < 6 || kind.category == "error" {
		result, failure = "failure", `"exit status `+strconv.Itoa(1+n)+`: the operation did not finish in time"`
	} else if n < 8 {
		result = "pending"
	}
	b := make([]byte, 0, 512)
	b = fmt.Appendf(b, `{"category":"%s","action":"%s","actor":"%s","target":"%s","data":`,
		kind.category, kind.actions[r.IntN(len(kind.actions))], actor, at.name)
	b = g.data(b, kind.category, at)
	return kind.category, fmt.Appendf(b, `,"result":"%s","error":%s}`, result, failure)
}

// data appends the details that an event of a category has.
func (g *Generator) data(b []byte, category string, at *place) []byte {
	r := g.random
	switch category {
	case "service", "error":
		return fmt.Appendf(b, `{"image":"%s","container_id":"%s","exit_code":%d,"duration_ms":%d,"labels":{"stack":"home","restart":"unless-stopped"}}`,
			at.image, at.container, r.IntN(2)*137, r.IntN(5000))
	case "security":
		return fmt.Appendf(b, `{"ip":"10.3.%d.%d","session":"%016x","user_agent":"curl/8.9.1","bytes":%d,"mfa":{"method":"totp","ok":%t}}`,
			r.IntN(8), r.IntN(256), r.Uint64(), r.IntN(1_000_000), r.IntN(20) > 0)
	case "ai":
		return fmt.Appendf(b, `{"model":"llama3.3:70b-instruct-q4_K_M","prompt_tokens":%d,"completion_tokens":%d,"duration_ms":%d,"gpu":{"name":"rtx-4090","load":0.%02d}}`,
			r.IntN(8000), r.IntN(2000), r.IntN(60_000), 1+r.IntN(98))
	case "config":
		return fmt.Appendf(b, `{"key":"services.%s.replicas","old":%d,"new":%d,"commit":"%016x","review":{"by":"user-bob06","approved":true}}`,
			at.name, r.IntN(8), r.IntN(8), r.Uint64())
	}
	return fmt.Appendf(b, `{"host":"%s","duration_ms":%d,"free_mb":%d,"unit":"homelab-%s.service","load":{"one":%d.%02d,"cores":8}}`,
		at.host, r.IntN(5000), r.IntN(500_000), at.name, r.IntN(8), r.IntN(100))
}
