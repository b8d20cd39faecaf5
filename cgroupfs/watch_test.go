// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// encode makes what inotify gives for n, the name padded as the kernel does.
func encode(n notice) []byte {
	name := n.name
	if len(name) > 0 {
		name = append(append([]byte{}, name...), make([]byte, 16-len(name)%16)...)
	}
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, uint32(n.watch))
	b = binary.NativeEndian.AppendUint32(b, n.mask)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
	return append(b, name...)
}

func TestMarks(t *testing.T) {
	tests := []struct {
		name string
		mask uint32
		file string
		want mark
	}{
		{"cgroup made", unix.IN_CREATE | unix.IN_ISDIR, "pod", markChildren},
		{"cgroup removed", unix.IN_DELETE | unix.IN_ISDIR, "pod", markChildren},
		{"file made", unix.IN_CREATE, "file", 0},
		{"the directory removed", unix.IN_DELETE_SELF | unix.IN_ISDIR, "", markRemoved},
		{"unmounted", unix.IN_UNMOUNT, "", markRemoved},
		{"watch ended on purpose", unix.IN_IGNORED, "", 0},
		{"limit written", unix.IN_MODIFY, "memory.max", markWritten},
		{"quota written", unix.IN_MODIFY, "cpu.max", markWritten},
		{"weight written", unix.IN_MODIFY, "cpu.weight", markWritten},
		{"memory events", unix.IN_MODIFY, "memory.events", 0},
		{"local memory events", unix.IN_MODIFY, "memory.events.local", 0},
		{"cgroup events", unix.IN_MODIFY, "cgroup.events", 0},
		{"process moved in", unix.IN_MODIFY, "cgroup.procs", 0},
		{"no name", unix.IN_MODIFY, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &watcher{settings: settingFiles(), wake: make(chan struct{}, 1), pending: map[int32]mark{}}
			if err := w.take(encode(notice{watch: 7, mask: tt.mask, name: []byte(tt.file)})); err != nil {
				t.Fatal(err)
			}
			if got := len(w.wake) == 1; got != (tt.want != 0) {
				t.Errorf("woken: %v", got)
			}
			got, lost := w.swap(map[int32]mark{})
			want := map[int32]mark{}
			if tt.want != 0 {
				want[7] = tt.want
			}
			if diff := cmp.Diff(want, got); diff != "" || lost {
				t.Errorf("marks, lost %v (-want +got):\n%s", lost, diff)
			}
		})
	}
}

func TestSettingFiles(t *testing.T) {
	want := map[string]struct{}{}
	for _, name := range []string{
		"cpu.max", "cpu.max.burst", "cpu.weight", "memory.high", "memory.low", "memory.max", "memory.min",
		"memory.oom.group", "memory.swap.max", "pids.max",
	} {
		want[name] = struct{}{}
	}
	if diff := cmp.Diff(want, settingFiles()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A malformed answer ends in an error, never beyond the buffer or in a loop.
func FuzzCutNotice(f *testing.F) {
	f.Add(encode(notice{watch: 1, mask: unix.IN_CREATE | unix.IN_ISDIR, name: []byte("pod")}))
	f.Add(append(encode(notice{watch: 1, mask: unix.IN_IGNORED}), encode(notice{watch: -1, mask: unix.IN_Q_OVERFLOW})...))
	f.Add(encode(notice{watch: 2, mask: unix.IN_MODIFY, name: []byte("memory.high")})[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			n, rest, err := cutNotice(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(n.name) > len(b) {
				t.Fatalf("name %q, %d of %d bytes left", n.name, len(rest), len(b))
			}
			b = rest
		}
	})
}
