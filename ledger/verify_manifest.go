package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// readManifest compares a sealed segment's manifest with its lines.
func (v *verification) readManifest(r *segmentResult) error {
	if !r.zip {
		return nil
	}
	name := r.in.name + suffixManifest
	b, err := readFile(filepath.Join(v.dir, name), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		r.find(Finding{Kind: "manifest_missing", File: name, Message: "sealed segment " + r.in.name + " has no manifest"})
		return nil
	}
	if err != nil && !errors.Is(err, errNoFile) {
		return err
	}
	var m Manifest
	if err == nil {
		m, err = parseManifest(b)
	}
	if err == nil {
		_, err = m.rawMap()
	}
	if err != nil {
		r.find(Finding{Kind: "manifest_damaged", File: name, Message: fmt.Sprintf("%s: %v", name, err)})
		return nil
	}
	r.manifest = &m
	if r.tally == nil || len(r.gaps) > 0 {
		return nil // checkGaps holds what survived against the manifest
	}
	got, _ := r.tally.manifest()
	r.tally.ids = nil     // one segment's at a time: a forged hole makes them many
	got.SHA256 = m.SHA256 // see contents
	if got.digest() != m.digest() {
		r.find(Finding{Kind: "manifest_mismatch", File: name, ID: m.FirstID, Message: name + " is not that of its lines: " + strings.Join(differences(m, got), ", ")})
	}
	return nil
}

// differences names what two manifests do not share.
func differences(m, got Manifest) (names []string) {
	add := func(name string, differs bool) {
		if differs {
			names = append(names, name)
		}
	}
	add("segment", m.Segment != got.Segment)
	add("first_id", m.FirstID != got.FirstID)
	add("last_id", m.LastID != got.LastID)
	add("previous_hash", m.PreviousHash != got.PreviousHash)
	add("last_hash", m.LastHash != got.LastHash)
	add("sha256", m.SHA256 != got.SHA256)
	add("category map", m.MapSHA256 != got.MapSHA256)
	add("number of categories", len(m.Categories) != len(got.Categories))
	for i := range min(len(m.Categories), len(got.Categories)) {
		add("category "+m.Categories[i].Category, m.Categories[i] != got.Categories[i])
	}
	return names
}
