package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// tallySealed makes the manifests of plain segments that the chain has a seal
// of: so a replica that is late with sealing has them, and whoever unpacked
// files to get around their manifests.
func (v *verification) tallySealed(ctx context.Context) error {
	sealed := map[string]bool{}
	for _, r := range v.results {
		for _, e := range r.own {
			if e.action == actionSeal {
				sealed[sealOf(e.data).segment] = true
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, r := range v.results {
		if !r.zip && r.lines > 0 && sealed[r.in.name] {
			g.Go(func() (err error) {
				if v.results[i], err = v.tallied(ctx, r); err != nil {
					return fmt.Errorf("verifying segment %s: %w", r.in.name, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// tallied reads a plain segment's lines again for their manifest. What is wrong
// with them is known. One that is sealed by now is verified as such.
func (v *verification) tallied(ctx context.Context, r *segmentResult) (*segmentResult, error) {
	f, zip, err := r.in.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if zip {
		return v.segment(ctx, r.in)
	}
	end := r.in.limit
	if end < 0 {
		if end, _, err = lastLineEnd(f); err != nil {
			return nil, err
		}
	}
	again := &segmentResult{in: r.in, file: r.file, counts: true, content: sha256.New()}
	if err := v.readLines(ctx, again, f, end); err != nil || again.tally == nil {
		return r, err
	}
	m, _ := again.tally.manifest()
	m.SHA256 = hex.EncodeToString(again.content.Sum(nil))
	r.tally, r.manifest = again.tally, &m
	return r, nil
}

// checkSeal compares a chained seal with the manifest on disk, or with that of
// the lines where the segment is plain.
func (v *verification) checkSeal(e ownEvent, statement []byte, sealed map[string]bool) {
	name := sealOf(e.data).segment
	i := slices.IndexFunc(v.results, func(s *segmentResult) bool { return s.in.name == name })
	if i < 0 {
		v.find(Finding{Kind: "segment_missing", ID: e.id.String(), File: e.file, Line: e.line, Message: "segment " + name + " was sealed and is gone"})
		return
	}
	sealed[name] = true
	s := v.results[i]
	if s.manifest == nil {
		return
	}
	seg := segment{name: name, manifest: s.manifest, digest: s.manifest.digest()}
	if bytes.Equal(seg.statement(), statement) {
		s.vouched = v.verifier != nil
		return
	}
	file := s.file
	if s.zip {
		file = name + suffixManifest
	}
	s.find(Finding{Kind: "seal_mismatch", ID: e.id.String(), File: file,
		Message: fmt.Sprintf("the manifest of %s is not the one that event %s sealed", name, e.id)})
}

// unsealed reports ended segments whose seal the chain lacks although a later
// one has its seal. The last ones may wait for theirs.
func (v *verification) unsealed(sealed map[string]bool) {
	later := false
	for i, r := range slices.Backward(v.results) {
		ended := r.zip || r.lines > 0 && i < len(v.results)-1
		switch {
		case sealed[r.in.name]:
			later = true
		case ended && later:
			f := Finding{Kind: "seal_missing", Message: "segment " + r.in.name + " has no segment_sealed in the chain"}
			if r.linked {
				f.ID = r.from.String()
			}
			r.find(f)
		case ended:
			v.report.NotChecked = append(v.report.NotChecked, "the seal of "+r.in.name+": not in the chain yet")
		}
	}
}

// contents hashes what sealed files hold where no chained and signed seal
// vouches for their manifest. Elsewhere the manifest's hash of the content is
// the one that was sealed, and the content is what it was: no byte of a line
// escapes the line's own hash, and these and all else in the manifest are compared.
func (v *verification) contents() {
	for _, r := range v.results {
		if r.tally == nil || r.manifest == nil || !r.zip || r.vouched || len(r.gaps) > 0 {
			continue
		}
		if !holds(filepath.Join(v.dir, r.in.name+suffixSealed), true, *r.manifest) {
			r.find(Finding{Kind: "manifest_mismatch", File: r.in.name + suffixManifest, ID: r.manifest.FirstID,
				Message: r.in.name + suffixManifest + " is not that of its lines: sha256"})
		}
	}
}
