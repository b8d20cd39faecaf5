// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// TestParity holds both readers against each other on a frozen tree whose
// workloads were throttled, held at memory.high, OOM killed, refused processes
// and swapped: each field of each cgroup has the same value or is absent in both.
func TestParity(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{MemoryQoS: true})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	// All kinds of pods there are.
	if err := tree.Frozen(ctx, 14, 1, func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	r, files, cgroups := openReader(t, Config{}), fileReader(t), cgroupsOf(t)
	t.Logf("%s: %d cgroups", kernelRelease(t), len(cgroups))
	var wrong []string
	var seen [cgroupfs.NumFields]int
	// A frozen tree moves now and then, when the kernel takes memory back that it
	// had charged ahead: compare again then.
	for range 10 {
		wrong, seen = compareReaders(t, r, files, cgroups)
		if len(wrong) == 0 {
			break
		}
		time.Sleep(2 * time.Second)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	for f := range cgroupfs.NumFields {
		if f.Info().File != "io.stat" && !r.Gives(f) {
			t.Errorf("the iterator does not give %s on this kernel", f)
		}
	}
	t.Logf("fields that were other than 0 or max somewhere: %s", proven(seen, true))
	t.Logf("fields that were not: %s", proven(seen, false))
}

func proven(seen [cgroupfs.NumFields]int, wanted bool) string {
	var names []string
	for f := range cgroupfs.NumFields {
		if f.Info().File != "io.stat" && (seen[f] > 0) == wanted {
			names = append(names, fmt.Sprintf("%s (%d)", f, seen[f]))
		}
	}
	return strings.Join(names, ", ")
}

// compareReaders reads every cgroup both ways. The files come first: reading
// them makes the kernel bring pressure and its split of CPU time up to date.
func compareReaders(t *testing.T, r *Reader, files *cgroupfs.FileReader, cgroups []*cgroupfs.Cgroup) (wrong []string, seen [cgroupfs.NumFields]int) {
	t.Helper()
	fromFiles := make([]cgroupfs.Reading, len(cgroups))
	for i, c := range cgroups {
		if err := files.Read(c, &fromFiles[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Sweep(cgroups[0]); err != nil {
		t.Fatal(err)
	}
	for i, c := range cgroups {
		var got cgroupfs.Reading
		if !r.Read(c, &got) {
			wrong = append(wrong, fmt.Sprintf("%s: the iterator did not come by", c.Path))
			continue
		}
		for f := range cgroupfs.NumFields {
			if f.Info().File == "io.stat" {
				continue
			}
			want, inFile := fromFiles[i].Get(f)
			v, ok := got.Get(f)
			if v != want || ok != inFile {
				wrong = append(wrong, fmt.Sprintf("%s: %s is %d (there: %t), its file says %d (%t)", c.Path, f, v, ok, want, inFile))
			}
			if want != 0 && want != cgroupfs.Unlimited {
				seen[f]++
			}
		}
	}
	return wrong, seen
}
