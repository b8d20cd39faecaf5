// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// look is what a script on a real node saw at one time: memory.events and
// memory.events.local of a pod, of its containers, its class and kubepods,
// children first, each read by a process of its own.
type look struct {
	at       time.Duration
	readings map[string]*cgroupfs.Reading // by path
}

var eventsLine = regexp.MustCompile(`^\s+(\S+?)/? events: (.*) \| local: (.*)$`)

// readLooks reads a recording of a kill on a node with kubelet 1.36 and
// containerd 2.4, where the pod's limit was hit: testdata/node-*.txt.
func readLooks(t *testing.T, file string) []look {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var looks []look
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if seconds, err := strconv.ParseFloat(line, 64); err == nil {
			looks = append(looks, look{time.Duration(seconds * float64(time.Second)), map[string]*cgroupfs.Reading{}})
			continue
		}
		parts := eventsLine.FindStringSubmatch(line)
		if len(parts) == 0 || strings.HasSuffix(parts[1], "*") {
			continue // it says that something went while it was read
		}
		var r cgroupfs.Reading
		setEvents(t, &r, cgroupfs.MemoryEventLow, parts[2])
		setEvents(t, &r, cgroupfs.MemoryLocalEventLow, parts[3])
		looks[len(looks)-1].readings["/"+parts[1]] = &r
	}
	return looks
}

func setEvents(t *testing.T, r *cgroupfs.Reading, from cgroupfs.Field, events string) {
	t.Helper()
	for i, event := range strings.Fields(events) {
		key, value, _ := strings.Cut(event, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		if f := from + cgroupfs.Field(i); err != nil || f.Info().Key != key {
			t.Fatalf("%q is not %s", event, f)
		} else {
			r.Set(f, n)
		}
	}
}

// replay lets a keeper see those looks that it is told to, and then the last
// one until all is decided.
func replay(looks []look, app string, sees func(i int) bool) *Keeper {
	k := New(Config{Logger: slog.New(slog.DiscardHandler)})
	known := map[string]*cgroupfs.Cgroup{}
	last := map[string]*cgroupfs.Reading{}
	see := func(l look) {
		now := time.Unix(1_800_000_000, 0).Add(l.at)
		for path, c := range known {
			if l.readings[path] == nil {
				k.Ended(c, last[path], now)
				delete(known, path)
			}
		}
		paths := make([]string, 0, len(l.readings))
		for path := range l.readings {
			paths = append(paths, path)
		}
		slices.SortFunc(paths, func(a, b string) int { return len(a) - len(b) })
		for _, path := range paths {
			c := known[path]
			if c == nil {
				c = &cgroupfs.Cgroup{ID: uint64(100 + len(last)), Path: path, Level: cgroupfs.Level(strings.Count(path, "/")), QoS: cgroupfs.Burstable}
				c.Parent = known[path[:strings.LastIndexByte(path, '/')]]
				c.ContainerID = path[strings.LastIndexByte(path, '/')+1:]
				known[path] = c
			}
			last[path] = l.readings[path]
			reading := *l.readings[path]
			if c.Level == levelContainer && strings.Contains(path, app) {
				reading.Set(cgroupfs.MemoryOOMGroup, 1)
			}
			k.Observe(c, &reading, now)
			switch {
			case c.Level == levelContainer && strings.Contains(path, app):
				k.Identify(c, &snapshot.ContainerIdentity{Namespace: "default", Pod: "oom", Name: "hog", Known: true})
			case c.Level == levelContainer:
				k.Sandbox(c)
			}
		}
		k.Finish(now)
	}
	for i, l := range looks {
		if sees(i) {
			see(l)
		}
	}
	end := looks[len(looks)-1]
	for range 12 {
		end.at += time.Second
		see(end)
	}
	return k
}

// TestRecordedKills wants the one kill of each recording, whatever of it was
// seen: all, or only some looks, so that now and then the container is gone
// before its counts are read, or a look falls into the middle of the kill.
func TestRecordedKills(t *testing.T) {
	for _, test := range []struct {
		file, container string
		processes       int
	}{
		{"node-cgroupfs.txt", "2d347bf4", 1},
		{"node-systemd.txt", "dea4241c", 1},
		{"node-oom-child.txt", "948e47cc", 2},
	} {
		looks := readLooks(t, "testdata/"+test.file)
		if len(looks) < 6 {
			t.Fatalf("%s has %d looks", test.file, len(looks))
		}
		want := map[string]string{"oom/hog pod": fmt.Sprintf("1/%d", test.processes)}
		for hidden := range 1 << len(looks[1:]) {
			if looksOfContainer(looks, hidden, test.container) == 0 {
				continue // such a container was never seen
			}
			got := replay(looks, test.container, func(i int) bool { return i == 0 || hidden&(1<<(i-1)) == 0 }).counted()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s without looks %b (-want +got):\n%s", test.file, hidden, diff)
			}
		}
	}
}

// looksOfContainer counts the looks that show a container, before it counted a
// kill or after.
func looksOfContainer(looks []look, hidden int, container string) int {
	seen := 0
	for i, l := range looks {
		for path := range l.readings {
			if i > 0 && hidden&(1<<(i-1)) == 0 && strings.Contains(path, container) {
				seen++
			}
		}
	}
	return seen
}
