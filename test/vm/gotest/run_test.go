// SPDX-License-Identifier: Apache-2.0

package gotest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slicewatch/slicewatch/test/vm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording is a Runner that plays what a binary once printed.
type recording struct {
	text      []byte
	code      int
	err       error
	chunkSize int
	last      vm.Command
}

func (r *recording) Run(_ context.Context, c vm.Command, stdout, _ io.Writer) (int, error) {
	r.last = c
	for rest := r.text; len(rest) > 0; {
		n := min(len(rest), r.chunkSize)
		if _, err := stdout.Write(rest[:n]); err != nil {
			return -1, err
		}
		rest = rest[n:]
	}
	return r.code, r.err
}

// all is what the recorded binary lists; testdata/*.out are its real output
// with -test.v=test2json, each time ending in another way.
func all() []string {
	return []string{"TestGood", "TestSubtests", "TestSkipped", "TestParallel", "TestEnds", "TestLast", "FuzzSeeds"}
}

func TestRun(t *testing.T) {
	lost := errors.New("run /src/x/x.test in the machine: the machine's kernel failed: the console's end:\n  | Kernel panic")
	tests := map[string]struct {
		recorded string
		code     int
		err      error
	}{
		"good":                 {recorded: "good"},
		"mixed":                {recorded: "mixed", code: 1},
		"panic":                {recorded: "panic", code: 2},
		"panic-in-goroutine":   {recorded: "goroutine", code: 2},
		"time-limit":           {recorded: "hang", code: 2},
		"exit-in-a-test":       {recorded: "exit0", code: 2},
		"killed":               {recorded: "kill", code: 137},
		"main-fails":           {recorded: "leak", code: 1},
		"truncated":            {recorded: "truncated", code: 0},
		"machine-lost":         {recorded: "truncated", code: -1, err: lost},
		"said-nothing":         {recorded: "", code: 0},
		"passed-but-exit-code": {recorded: "good", code: 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var text []byte
			if test.recorded != "" {
				var err error
				if text, err = os.ReadFile(filepath.Join("testdata", test.recorded+".out")); err != nil {
					t.Fatal(err)
				}
			}
			for _, chunkSize := range []int{7, 1 << 20} {
				var out bytes.Buffer
				printer := Printer{Out: &out, Prefix: "example.com"}
				runner := &recording{text: text, code: test.code, err: test.err, chunkSize: chunkSize}
				b := Binary{Package: "example.com/rec", GuestDir: "/src/rec"}
				if err := Run(t.Context(), runner, b, Options{Timeout: time.Minute}, all(), printer.Report); err != nil {
					t.Fatal(err)
				}
				compareGolden(t, name, fmt.Sprintf("%s%s\n", out.String(), printer.Counts))
			}
		})
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestCommandLines(t *testing.T) {
	b := Binary{Package: "example.com/a/rec", GuestDir: "/src/a/rec"}
	o := Options{Run: "TestA/one", Timeout: 90 * time.Second, Short: true}
	runner := &recording{text: []byte("TestA\nBenchmarkA\nExampleA\nFuzzA\nsetting up Test\n"), chunkSize: 100}
	names, err := List(t.Context(), runner, b, o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"TestA", "ExampleA", "FuzzA"}, names); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	want := vm.Command{Path: "/src/a/rec/rec.test", Args: []string{"-test.list=TestA"}, Dir: "/src/a/rec", MergeOutput: true}
	if diff := cmp.Diff(want, runner.last); diff != "" {
		t.Errorf("list command (-want +got):\n%s", diff)
	}
	if err := Run(t.Context(), runner, b, o, nil, func(Result) {}); err != nil {
		t.Fatal(err)
	}
	want.Args = []string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=1m30s", "-test.run=TestA/one", "-test.short"}
	if diff := cmp.Diff(want, runner.last); diff != "" {
		t.Errorf("run command (-want +got):\n%s", diff)
	}
}

// TestElapsedIsTheGuests: the time that the binary itself says, not the time
// until its output came here.
func TestElapsedIsTheGuests(t *testing.T) {
	text := "\x16=== RUN   TestA\n\x16--- PASS: TestA (1.25s)\n\x16PASS\n"
	var got []Result
	runner := &recording{text: []byte(text), chunkSize: 100}
	b := Binary{Package: "example.com/rec", GuestDir: "/src/rec"}
	err := Run(t.Context(), runner, b, Options{Timeout: time.Minute}, nil, func(r Result) { got = append(got, r) })
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{{Package: b.Package, Test: "TestA", Elapsed: 1250 * time.Millisecond}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestListFails(t *testing.T) {
	b := Binary{Package: "example.com/rec", GuestDir: "/src/rec"}
	for name, runner := range map[string]*recording{
		"status":  {text: []byte("bad flag"), code: 2, chunkSize: 100},
		"machine": {err: errors.New("gone"), code: -1, chunkSize: 100},
	} {
		t.Run(name, func(t *testing.T) {
			if names, err := List(t.Context(), runner, b, Options{}); err == nil || !strings.Contains(err.Error(), "example.com/rec") {
				t.Errorf("names %v, error %v; want an error that names the package", names, err)
			}
		})
	}
}

func TestSkipIsFailure(t *testing.T) {
	var out bytes.Buffer
	p := Printer{Out: &out, SkipIsFailure: true}
	p.Report(Result{Package: "p", Test: "TestS", Status: Skip, Output: "    s_test.go:1: no root"})
	if want := (Counts{Failed: 1}); p.Counts != want || !strings.Contains(out.String(), "FAIL  p  TestS") || !strings.Contains(out.String(), "no root") {
		t.Errorf("counts %v, printed %q", p.Counts, out.String())
	}
}

func TestOutputIsBounded(t *testing.T) {
	var got Result
	tr := newTracker("p", nil, func(r Result) { got = r })
	tr.handle(event{Action: "run", Test: "T"})
	for i := range 10_000 {
		tr.handle(event{Action: "output", Test: "T", Output: fmt.Sprintf("line %d of a test that talks too much\n", i)})
	}
	tr.handle(event{Action: "fail", Test: "T"})
	if len(got.Output) > outputKeepBytes || !strings.Contains(got.Output, "line 9999 ") {
		t.Errorf("%d bytes are kept, ending in %q", len(got.Output), got.Output[len(got.Output)-50:])
	}
}
