// SPDX-License-Identifier: Apache-2.0

package truth_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubetree/truth"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       truth.File
	}{
		{"memory.max", "max\n", truth.File{"": "max"}},
		{"memory.current", "4096\n", truth.File{"": "4096"}},
		{"cpu.max", "20000 100000\n", truth.File{"quota": "20000", "period": "100000"}},
		{"memory.events", "low 0\nhigh 29\n", truth.File{"low": "0", "high": "29"}},
		{"cpu.pressure", "some avg10=75.48 total=143570096\nfull avg10=0.00 total=7\n", truth.File{
			"some avg10": "75.48", "some total": "143570096", "full avg10": "0.00", "full total": "7",
		}},
		{"io.stat", "254:0 rbytes=4096 wbytes=0\n", truth.File{"254:0 rbytes": "4096", "254:0 wbytes": "0"}},
		{"cgroup.procs", "12\n14\n", truth.File{"0": "12", "1": "14"}},
		{"cgroup.controllers", "cpuset cpu io\n", truth.File{"0": "cpuset", "1": "cpu", "2": "io"}},
		{"cgroup.procs", "", truth.File{}},
	} {
		if diff := cmp.Diff(test.want, truth.Parse(test.name, test.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestReadTreeAndCompare(t *testing.T) {
	top := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("memory.current", "1\n", 0o644)
	write("memory.reclaim", "", 0o200)
	write("pod/cpu.stat", "usage_usec 5\nuser_usec 3\n", 0o644)
	before, err := truth.ReadTree(top)
	if err != nil {
		t.Fatal(err)
	}
	want := truth.Tree{
		".":   {"memory.current": {"": "1"}},
		"pod": {"cpu.stat": {"usage_usec": "5", "user_usec": "3"}},
	}
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	write("pod/cpu.stat", "usage_usec 6\n", 0o644)
	after, err := truth.ReadTree(top)
	if err != nil {
		t.Fatal(err)
	}
	changes := []truth.Change{{"pod", "cpu.stat", "usage_usec", "5", "6"}, {"pod", "cpu.stat", "user_usec", "3", ""}}
	if diff := cmp.Diff(changes, truth.Compare(before, after)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if n, isMax, ok := before["pod"].Value("cpu.stat", "usage_usec"); n != 5 || isMax || !ok {
		t.Errorf("value %d, %v, %v; want 5", n, isMax, ok)
	}
	if _, _, ok := before["pod"].Value("cpu.stat", "nr_periods"); ok {
		t.Error("an absent key has a value")
	}
}
