package ingest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A JetStream folder that the embedded server cannot use ends the start at
// once; put right, it is as any other.
func TestUnusableJetStreamFolderIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"a file":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link to no one": func(path string) error { return os.Symlink(path+".gone", path) },
		"a file in it": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "jetstream"), nil, 0o600))
		},
		"not writable": func(path string) error { return os.Mkdir(path, 0o500) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "not writable" && os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "jetstream")
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err := tryStart(t, dir, Options{})
			if err == nil || !strings.Contains(err.Error(), "in "+path+": Can't start JetStream: ") {
				t.Errorf("Open: %v", err)
			}
			if took := time.Since(began); took > startTimeout/4 {
				t.Errorf("it took %s", took)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			f := start(t, dir)
			f.get(put(t, f))
		})
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := tryStart(t, t.TempDir(), Options{Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Open: %v", err)
	}
}

func TestServerConfigurationIsTheBase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte("max_payload: 2048\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.client().MaxPayload(); got != 2048 {
		t.Errorf("max payload is %d", got)
	}
	f.get(put(t, f))
}

// A server_config with users, and no login of the store's or a wrong one: all that was said of it was a closed pipe.
func TestServerConfigurationWithUsersNeedsALogin(t *testing.T) {
	t.Parallel()
	certs := certificates(t, t.TempDir())
	secure := fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", certs.serverCert, certs.serverKey)
	for _, conf := range []string{"authorization: {users: [{user: store, password: right}]}\n", "authorization: {token: right}\n",
		"accounts: {A: {jetstream: enabled, users: [{user: store, password: right}]}}\n", secure + "authorization: {token: right}\n"} {
		for _, login := range []Login{{}, {User: "store", Password: "wrong"}} {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				file := filepath.Join(dir, "nats.conf")
				if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file, Login: login})
				if err == nil || !strings.Contains(err.Error(), file+" has users of its own, and nats.user") {
					t.Errorf("%v %+v: %v", conf, login, err)
				}
			})
		}
	}
}
