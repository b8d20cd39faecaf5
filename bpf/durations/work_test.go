// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests run themselves as processes of containers.
const (
	workVar  = "SLICEWATCH_TEST_WORK"
	workSpin = "spin" // threads
	workGrow = "grow" // MiB that are written to again and again
)

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(workVar)); len(words) > 0 {
		if err := work(words); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func work(words []string) error {
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	if words[0] == workGrow {
		return grow(n)
	}
	runtime.GOMAXPROCS(n)
	for range n - 1 {
		go spin()
	}
	spin()
	return nil
}

func spin() {
	for i := 0; ; i++ {
		runtime.KeepAlive(i)
	}
}

func grow(mib int) error {
	memory, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for {
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i]++
		}
	}
}

// tree is what the kubelet would make, in a place of its own.
type tree struct {
	t        testing.TB
	root     string
	kubepods string
	pod      string // a Burstable one
	place    Place
}

// newTree skips the test where there is no cgroup v2 to write to.
func newTree(t testing.TB) *tree {
	t.Helper()
	const mount = "/sys/fs/cgroup"
	var stat unix.Statfs_t
	if err := unix.Statfs(mount, &stat); err != nil || stat.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("needs a kernel with cgroup v2")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	root, err := os.MkdirTemp(mount, "slicewatch-test-") //nolint:usetesting // a cgroup, not a temporary folder
	if err != nil {
		t.Skipf("needs a writable cgroup file system: %v", err)
	}
	tr := &tree{t: t, root: root, kubepods: root + "/kubepods", pod: root + "/kubepods/burstable/pod1"}
	t.Cleanup(tr.remove)
	for _, dir := range []string{"", "/kubepods", "/kubepods/burstable", "/kubepods/besteffort", "/kubepods/burstable/pod1", "/kubepods/pod2"} {
		tr.mkdir(root + dir)
	}
	tr.write(mount, "cgroup.subtree_control", "+cpu +memory +cpuset")
	for _, dir := range []string{root, tr.kubepods, root + "/kubepods/burstable", tr.pod, root + "/kubepods/pod2"} {
		tr.write(dir, "cgroup.subtree_control", "+cpu +memory +cpuset")
	}
	tr.place = Place{Kubepods: tr.id(tr.kubepods), Classes: [2]uint64{tr.id(tr.kubepods + "/burstable"), tr.id(tr.kubepods + "/besteffort")}}
	return tr
}

func (tr *tree) remove() {
	_ = os.WriteFile(tr.root+"/cgroup.kill", []byte("1"), 0)
	var dirs []string
	_ = filepath.WalkDir(tr.root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append([]string{p}, dirs...)
		}
		return nil
	})
	for _, dir := range dirs {
		for range 100 {
			if os.Remove(dir) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (tr *tree) mkdir(dir string) {
	tr.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) write(dir, file, text string) {
	tr.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) id(dir string) uint64 {
	tr.t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		tr.t.Fatal(err)
	}
	return stat.Ino
}

// number returns what a file says after the key: "some total=" or "throttled_usec ".
func (tr *tree) number(dir, file, key string) uint64 {
	tr.t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		tr.t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), key)
	if !found {
		tr.t.Fatalf("no %q in %s: %s", key, file, text)
	}
	n, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		tr.t.Fatal(err)
	}
	return n
}

// start runs a work in a cgroup, until stop or the end of the test.
func (tr *tree) start(dir, work string) (stop func()) {
	tr.t.Helper()
	cgroup, err := os.Open(dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer func() { _ = cgroup.Close() }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{workVar + "=" + work, "GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tr.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, by us or for its memory
	}
	tr.t.Cleanup(stop)
	return stop
}

// until waits for a number in a file to be at least so much.
func (tr *tree) until(dir, file, key string, least uint64) {
	tr.t.Helper()
	for range 3000 {
		if tr.number(dir, file, key) >= least {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	tr.t.Fatalf("%s %s of %s does not come to %d", file, key, dir, least)
}

// empty waits until no process is in the cgroup.
func (tr *tree) empty(dir string) {
	tr.t.Helper()
	for range 500 {
		if tr.number(dir, "cgroup.events", "populated ") == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	tr.t.Fatalf("%s does not get empty", dir)
}
