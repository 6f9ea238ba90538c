package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	suffixPlain    = ".jsonl"
	suffixSealed   = ".jsonl.gz"
	suffixManifest = ".manifest.json"
	suffixTemp     = ".tmp"
)

// makeDir makes a folder, with its parents, and its name durable: else a power
// loss could take a new ledger away as a whole. Of a folder that is there the
// name is synced again: a process killed in between may have made it.
func makeDir(dir string) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := syncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// writeFile puts a file into a folder so that it is there whole or not at all:
// temporary file, fsync, rename, fsync of the folder.
func writeFile(dir, name string, content []byte) error {
	temp := filepath.Join(dir, name+suffixTemp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// checkFolder refuses a folder in which everybody on the machine can write: he
// could put segments there, or remove them; and one with pipes and the like,
// which may stand in the place of a file that is about to be opened. A private key that others can read
// signs nothing worth believing, which is for the operator to decide.
func checkFolder(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the data folder: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s is world-writable (%s): run chmod o-w on it", dir, info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking at the data folder: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() || strings.HasPrefix(e.Name(), "events_") {
			continue // of a segment it is damage, which does not stop the start
		}
		if err := regular(path); errors.Is(err, errNoFile) {
			return fmt.Errorf("looking at the data folder: %w", err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others can read the ledger's private key", "file", filepath.Join(dir, keyFile), "mode", info.Mode().String())
	}
	return nil
}

// errNoFile is what stands in a folder under the name of a file and is not one
// that the store wrote.
var errNoFile = errors.New("not a file as the store writes it")

// regular refuses what is no regular file, nor a link to one: to open a pipe
// is to wait for who writes into it.
func regular(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%s: %w: links in a circle", filepath.Base(path), errNoFile)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), errNoFile, info.Mode())
	}
	return err
}

// openFile opens a regular file to be read.
func openFile(path string) (*os.File, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// readFile reads a regular file of at most so many bytes.
func readFile(path string, most int) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if len(b) > most {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", filepath.Base(path), errNoFile, most)
	}
	return b, err
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A fileSet is what a folder holds of one segment.
type fileSet struct{ plain, sealed, manifest bool }

// listSegments finds the segments of a folder by name.
func listSegments(dir string) (map[string]fileSet, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sets := map[string]fileSet{}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "events_") || e.IsDir() {
			continue
		}
		if base, ok := strings.CutSuffix(name, suffixSealed); ok {
			s := sets[base]
			s.sealed = true
			sets[base] = s
		} else if base, ok := strings.CutSuffix(name, suffixPlain); ok {
			s := sets[base]
			s.plain = true
			sets[base] = s
		} else if base, ok := strings.CutSuffix(name, suffixManifest); ok {
			s := sets[base]
			s.manifest = true
			sets[base] = s
		}
	}
	return sets, nil
}

// stampOf is what the files of segments are by their names, sizes and times:
// another one where somebody changed them.
func stampOf(dir string) (string, error) {
	sets, err := listSegments(dir)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		for _, suffix := range []string{suffixPlain, suffixSealed, suffixManifest} {
			if info, err := os.Lstat(filepath.Join(dir, name+suffix)); err == nil {
				fmt.Fprintln(h, info.Name(), info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return string(h.Sum(nil)), nil
}

// removeTemps clears away what a crash left half-written.
func removeTemps(dir string) error {
	temps, err := filepath.Glob(filepath.Join(dir, "*"+suffixTemp))
	if err != nil {
		return err
	}
	for _, t := range temps {
		if err := os.Remove(t); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
