// SPDX-License-Identifier: Apache-2.0

package iterator

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// swapDisk is vmtest -swap's. Reading it fills the page cache; it has no file
// system that could do so.
const swapDisk = "/dev/vda"

// chore is what the test binary does in a container besides package work's
// workloads. It returns only when that fails, or nil when there is no chore.
func chore(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "chore" && args[1] == "read-disk":
		return readDisk(args[2])
	case len(args) == 2 && args[0] == "chore" && args[1] == "fill-socket":
		return fillSocket()
	}
	return nil
}

// readDisk reads so many MiB of the disk, three times over, and then the
// beginning of it again and again, which makes that active.
func readDisk(mebibytes string) error {
	size, err := strconv.ParseInt(mebibytes, 10, 64)
	if err != nil {
		return err
	}
	// The cache of a block device goes with its last reader.
	disk, err := os.Open(swapDisk)
	if err != nil {
		return err
	}
	for i := range 10 {
		part := size << 20
		if i >= 3 {
			part = 1 << 20
		}
		if _, err := io.Copy(io.Discard, io.NewSectionReader(disk, 0, part)); err != nil {
			return err
		}
	}
	return stay()
}

// stay waits until the process is killed.
func stay() error {
	time.Sleep(time.Hour)
	return errors.New("nobody killed this")
}

// fillSocket leaves a connection full of what nobody reads.
func fillSocket() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	if _, err := l.Accept(); err != nil {
		return err
	}
	if err := client.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	_, _ = client.Write(make([]byte, 32<<20)) // until the deadline
	return stay()
}

// rare is a container that something rare happens to.
type rare struct {
	name     string
	settings map[string]string // of the container
	pod      map[string]string
	args     []string
	// shows are fields that must then be more than 0.
	shows []cgroupfs.Field
}

func rares() []rare {
	grow := work.Cmd("grow step=1Mi every=10ms").Argv(false)
	return []rare{
		{
			name: "cache", settings: map[string]string{"memory.max": "8388608"}, args: []string{"chore", "read-disk", "24"},
			shows: []cgroupfs.Field{cgroupfs.MemoryInactiveFile, cgroupfs.MemoryActiveFile, cgroupfs.MemoryRefaultFile, cgroupfs.MemoryLocalEventMax},
		}, {
			name: "protected", settings: map[string]string{"memory.low": "67108864"}, pod: map[string]string{"memory.max": "12582912"},
			args: []string{"chore", "read-disk", "32"}, shows: []cgroupfs.Field{cgroupfs.MemoryEventLow, cgroupfs.MemoryLocalEventLow},
		}, {
			name: "group", settings: map[string]string{"memory.max": "8388608", "memory.swap.max": "0", "memory.oom.group": "1"}, args: grow,
			shows: []cgroupfs.Field{cgroupfs.MemoryEventOOMGroupKill, cgroupfs.MemoryLocalEventOOMGroupKill, cgroupfs.MemoryLocalEventOOMKill},
		}, {
			name: "swap", settings: map[string]string{"memory.max": "8388608", "memory.swap.high": "1048576", "memory.swap.max": "4194304"},
			args:  work.Cmd("hold bytes=32Mi").Argv(false),
			shows: []cgroupfs.Field{cgroupfs.SwapEventHigh, cgroupfs.SwapEventMax, cgroupfs.SwapEventFail},
		}, {
			name: "socket", args: []string{"chore", "fill-socket"}, shows: []cgroupfs.Field{cgroupfs.MemorySock},
		},
	}
}

// TestParityOfRareThings holds both readers against each other for what a usual
// tree does not show.
func TestParityOfRareThings(t *testing.T) {
	treetest.Need(t)
	long.Only(t, "waits for minutes until rare things have happened")
	if _, err := os.Stat(swapDisk); err != nil {
		t.Skipf("needs swap on a disk (vmtest -swap 256): %v", err)
	}
	tree := treetest.New(t, kubetree.Spec{})
	dirs := map[string]string{}
	for _, r := range rares() {
		dirs[r.name] = startRare(t, tree, r)
	}
	files := fileReader(t)
	awaitRares(t, files, dirs)
	if err := tree.Freeze(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // for the clock of pressure
	r, cgroups := openReader(t, Config{}), cgroupsOf(t)
	var wrong []string
	for range 10 {
		if wrong, _ = compareReaders(t, r, files, cgroups); len(wrong) == 0 {
			break
		}
		time.Sleep(2 * time.Second)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	// In a slow machine one or the other does not come to pass in time. What is 0
	// is compared all the same, it only proves less.
	for _, rare := range rares() {
		c := cgroupAt(t, dirs[rare.name])
		var got cgroupfs.Reading
		if !r.Read(c, &got) {
			t.Errorf("%s: the iterator did not come by", rare.name)
		}
		for _, f := range rare.shows {
			if v, _ := got.Get(f); v == 0 {
				t.Logf("%s: %s is 0", rare.name, f)
			}
		}
	}
}

// awaitRares waits until the files show what was to happen.
func awaitRares(t *testing.T, files *cgroupfs.FileReader, dirs map[string]string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for _, rare := range rares() {
		c := cgroupAt(t, dirs[rare.name])
		for _, f := range rare.shows {
			for {
				var reading cgroupfs.Reading
				if err := files.Read(c, &reading); err != nil {
					t.Fatal(err)
				}
				if v, _ := reading.Get(f); v > 0 || time.Now().After(deadline) {
					break
				}
				time.Sleep(200 * time.Millisecond)
			}
		}
	}
}

// startRare makes a pod with one container and starts the process in it. It
// returns the container's directory.
func startRare(t *testing.T, tree *kubetree.Tree, r rare) string {
	t.Helper()
	pod, err := tree.AddPod(kubetree.PodSpec{Name: r.name, Containers: []kubetree.ContainerSpec{{Name: "a", Work: work.Cmd("idle")}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := tree.Containers(pod)[0].Path
	for at, settings := range map[string]map[string]string{dir: r.settings, pod.Path: r.pod} {
		for file, value := range settings {
			if err := os.WriteFile(filepath.Join(at, file), []byte(value), 0o644); err != nil {
				t.Fatal(fmt.Errorf("%s: %w", r.name, err))
			}
		}
	}
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	cmd := exec.Command("/proc/self/exe", r.args...)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", r.name, err))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, here or by the kernel
		if t.Failed() {
			t.Logf("%s: %s %s", r.name, cmd.ProcessState, said.String())
		}
	})
	return dir
}
