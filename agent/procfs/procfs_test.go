// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 0 -1 4194560 10 20 30 40 5 6 7 8 20 0 1 0 12345 9999 678 18446744073709551615"
	for name, c := range map[string]struct {
		content string
		want    Stat
		ok      bool
	}{
		"plain":               {"12 (redis-server)" + rest, Stat{Start: 123450 * time.Millisecond}, true},
		"parentheses":         {"12 (a) S (b) 1)" + rest, Stat{Start: 123450 * time.Millisecond}, true},
		"runc":                {"12 (runc:[2:INIT])" + rest, Stat{Start: 123450 * time.Millisecond, InRuntime: true}, true},
		"a name like runc's":  {"12 (crunchy)" + rest, Stat{Start: 123450 * time.Millisecond}, true},
		"cut short":           {"12 (redis-server) S 1 2 3", Stat{}, false},
		"no command":          {"12 redis-server" + rest, Stat{}, false},
		"garbage in a number": {"12 (a) S 1 2 3 0 -1 4194560 10 20 30 40 5 6 7 8 20 0 1 0 x 9999 678", Stat{}, false},
		"empty":               {"", Stat{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseStat([]byte(c.content))
			if ok != c.ok || ok && !cmp.Equal(got, c.want) {
				t.Errorf("got %+v %v, want %+v %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a b) S 1 2 3 0 -1 4194560 10 20 30 40 5 6 7 8 20 0 1 0 12345 9999 678 1"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if s, ok := parseStat(content); ok && (s.Start < 0) {
			t.Fatalf("negative: %+v", s)
		}
	})
}

func openHost(t testing.TB) *FS {
	t.Helper()
	p, err := Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestOwnProcess(t *testing.T) {
	p, pid := openHost(t), os.Getpid()
	adj, err := p.OOMScoreAdj(pid)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if want := string(raw); strconv.FormatInt(adj, 10)+"\n" != want {
		t.Errorf("oom_score_adj %d, the file says %q", adj, want)
	}
	if score, err := p.OOMScore(pid); err != nil || score < 0 || score > 2000 {
		t.Errorf("oom_score %d, %v", score, err)
	}
	s, err := p.Stat(pid)
	if err != nil || s.Start == 0 || s.InRuntime {
		t.Errorf("stat %+v, %v", s, err)
	}
	if pages, err := p.ResidentPages(pid); err != nil || pages == 0 {
		t.Errorf("%d resident pages, %v", pages, err)
	}
}

func TestProcessThatEnded(t *testing.T) {
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Skip("cannot run true:", err)
	}
	p := openHost(t)
	if _, err := p.OOMScore(child.Process.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
}

func TestReadsAllocateNothing(t *testing.T) {
	p, pid := openHost(t), os.Getpid()
	allocs := testing.AllocsPerRun(100, func() {
		_, err1 := p.OOMScore(pid)
		_, err2 := p.Stat(pid)
		_, err3 := p.ResidentPages(pid)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a process", allocs)
	}
}

func TestNode(t *testing.T) {
	n, err := OpenNode("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if bytes, err := n.MemoryBytes(); err != nil || bytes < 1<<20 {
		t.Errorf("memory %d, %v", bytes, err)
	}
	if _, err := n.HasSwap(); err != nil {
		t.Error(err)
	}
	if cpus, err := n.CPUs(); err != nil || cpus < 1 {
		t.Errorf("CPUs %d, %v", cpus, err)
	}
	if id, err := n.BootID(); err != nil || len(id) != 36 {
		t.Errorf("boot id %q, %v", id, err)
	}
}

func TestNodeWithoutFiles(t *testing.T) {
	n, err := OpenNode(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := n.MemoryBytes()
	_, err2 := n.CPUs()
	_, err3 := n.Pressure("cpu")
	_, err4 := n.BootID()
	_, err5 := n.HasSwap()
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v, want one that says what does not exist", err)
		}
	}
}
