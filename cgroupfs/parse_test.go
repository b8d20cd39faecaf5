// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fileNamed returns the description of a control file.
func fileNamed(t testing.TB, name string) *controlFile {
	t.Helper()
	files := controlFiles()
	i := slices.IndexFunc(files, func(file controlFile) bool { return file.name == name })
	if i < 0 {
		t.Fatalf("no control file %s", name)
	}
	return &files[i]
}

func TestControlFiles(t *testing.T) {
	files := controlFiles()
	if files[0].name != "cpu.stat" {
		t.Errorf("%s is read first; the time of a CPU rate is taken just before cpu.stat", files[0].name)
	}
	seen := make(map[Field]string)
	for _, file := range files {
		for _, f := range file.fields {
			if other, ok := seen[f]; ok {
				t.Errorf("%v is in %s and %s", f, other, file.name)
			}
			seen[f] = file.name
			if f.Info().Setting == file.hot {
				t.Errorf("%v: setting is %v and hot is %v", f, f.Info().Setting, file.hot)
			}
		}
	}
	for f := range NumFields {
		if seen[f] == "" {
			t.Errorf("%v is in no file", f)
		}
	}
}

// parseTest is one text of a control file and what it means.
type parseTest struct {
	name, file, text string
	want             map[string]uint64
	wantErr          string // part of the message; nothing is present then
}

func (tt parseTest) run(t *testing.T) {
	file := fileNamed(t, tt.file)
	var reading Reading
	err := file.parse(file, []byte(tt.text), &reading)
	got := ""
	if err != nil {
		got = err.Error()
	}
	if (err != nil) != (tt.wantErr != "") || !strings.Contains(got, tt.wantErr) {
		t.Errorf("error %q, want one with %q", got, tt.wantErr)
	}
	want := tt.want
	if tt.wantErr != "" {
		want = map[string]uint64{}
	}
	if diff := cmp.Diff(want, values(&reading)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseValue(t *testing.T) {
	for _, tt := range []parseTest{
		{name: "number", file: "memory.current", text: "221184\n", want: map[string]uint64{"memory.current": 221184}},
		{name: "number without newline", file: "memory.current", text: "221184", want: map[string]uint64{"memory.current": 221184}},
		{name: "zero is present", file: "pids.current", text: "0\n", want: map[string]uint64{"pids.current": 0}},
		{name: "highest number", file: "memory.current", text: "18446744073709551615\n", want: map[string]uint64{"memory.current": math.MaxUint64}},
		{name: "above uint64", file: "memory.current", text: "18446744073709551616\n", wantErr: "no number"},
		{name: "far above uint64", file: "memory.current", text: "184467440737095516150\n", wantErr: "no number"},
		{name: "negative", file: "pids.current", text: "-1\n", wantErr: `parse pids.current: line "-1": value is no number`},
		{name: "sign", file: "pids.current", text: "+1\n", wantErr: "no number"},
		{name: "blank behind", file: "pids.current", text: "1 \n", wantErr: "no number"},
		{name: "empty value", file: "memory.current", text: "", wantErr: "no number"},
		{name: "second line", file: "memory.current", text: "1\n2\n", wantErr: "after the only value"},
		{name: "unlimited", file: "memory.max", text: "max\n", want: map[string]uint64{"memory.max": Unlimited}},
		{name: "limit", file: "memory.max", text: "4096\n", want: map[string]uint64{"memory.max": 4096}},
		{name: "max where no limit is", file: "memory.current", text: "max\n", wantErr: "no number"},
		{name: "max misspelt", file: "pids.max", text: "maximum\n", wantErr: "no number"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestParseFlatKeyed(t *testing.T) {
	for _, tt := range []parseTest{
		{
			name: "no cpu controller", file: "cpu.stat", text: "usage_usec 3\nuser_usec 1\nsystem_usec 2\n",
			want: map[string]uint64{"cpu.stat usage_usec": 3, "cpu.stat user_usec": 1, "cpu.stat system_usec": 2},
		},
		{
			name: "any order, unknown keys, no last newline", file: "memory.events",
			text: "oom_kill 2\nsock_throttled 9\nlow 1\nlater N0=1 N1=2\nhigh 7",
			want: map[string]uint64{"memory.events oom_kill": 2, "memory.events low": 1, "memory.events high": 7},
		},
		{
			name: "a key is not another's start", file: "memory.stat", text: "anon_thp 5\nanon 1\nfile_mapped 7\n",
			want: map[string]uint64{"memory.stat anon": 1},
		},
		{name: "empty keyed file", file: "memory.events", text: "", want: map[string]uint64{}},
		{name: "key without value", file: "memory.events", text: "low 1\nhigh\n", wantErr: `line "high": not of the form`},
		{name: "key with two values", file: "memory.events", text: "low 1 2\n", wantErr: "no number"},
		{name: "key with empty value", file: "memory.events", text: "low \n", wantErr: "no number"},
		{name: "empty line", file: "memory.events", text: "low 1\n\nhigh 1\n", wantErr: "not of the form"},
		{name: "key twice", file: "memory.events", text: "low 1\nlow 1\n", wantErr: "twice"},
		{name: "error after good lines", file: "cpu.stat", text: "usage_usec 3\nnr_periods 1e3\n", wantErr: "no number"},
		{name: "binary", file: "cpu.stat", text: "\x00\x01\xff\n", wantErr: `"\x00\x01\xff"`},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestParseCPUMax(t *testing.T) {
	for _, tt := range []parseTest{
		{name: "quota", file: "cpu.max", text: "20000 200000\n", want: map[string]uint64{"cpu.max quota": 20000, "cpu.max period": 200000}},
		{name: "no quota", file: "cpu.max", text: "max 100000\n", want: map[string]uint64{"cpu.max quota": Unlimited, "cpu.max period": 100000}},
		{name: "further words", file: "cpu.max", text: "max 100000 5", want: map[string]uint64{"cpu.max quota": Unlimited, "cpu.max period": 100000}},
		{name: "no period", file: "cpu.max", text: "max\n", wantErr: "period"},
		{name: "period 0", file: "cpu.max", text: "1000 0\n", wantErr: "period"},
		{name: "period max", file: "cpu.max", text: "max max\n", wantErr: "period"},
		{name: "negative quota", file: "cpu.max", text: "-1 100000\n", wantErr: "quota"},
		{name: "two lines of quota", file: "cpu.max", text: "max 100000\nmax 100000\n", wantErr: "after the only line"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestParsePressure(t *testing.T) {
	for _, tt := range []parseTest{
		{
			name: "pressure", file: "io.pressure",
			text: "some avg10=0.11 avg60=4.04 avg300=1.97 total=7447413\nfull avg10=0.11 avg60=3.87 avg300=1.89 total=7122725\n",
			want: map[string]uint64{"io.pressure some": 7447413, "io.pressure full": 7122725},
		},
		{
			name: "no full line (before 5.13)", file: "cpu.pressure", text: "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
			want: map[string]uint64{"cpu.pressure some": 9},
		},
		{
			name: "further kinds and words", file: "cpu.pressure", text: "irq total=x\nsome total=9 avg900=1.00\n",
			want: map[string]uint64{"cpu.pressure some": 9},
		},
		{name: "no known kind", file: "cpu.pressure", text: "none total=1\n", wantErr: "neither some nor full"},
		{name: "no total", file: "cpu.pressure", text: "some avg10=0.00\n", wantErr: "no total="},
		{name: "bad total", file: "cpu.pressure", text: "some total=1.5\n", wantErr: "no total="},
		{name: "some twice", file: "cpu.pressure", text: "some total=1\nsome total=1\n", wantErr: "twice"},
		{name: "empty pressure line", file: "cpu.pressure", text: "\nsome total=1\n", wantErr: "empty line"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestParseIOStat(t *testing.T) {
	for _, tt := range []parseTest{
		{name: "no device yet", file: "io.stat", text: "", want: ioValues(0, 0, 0, 0, 0, 0)},
		{
			name: "sum over devices", file: "io.stat",
			text: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n253:1 rbytes=10 wbytes=20 rios=30 wios=40 dbytes=50 dios=60 cost.usage=7\n",
			want: ioValues(11, 22, 55, 33, 44, 66),
		},
		{name: "device without keys", file: "io.stat", text: "8:0\n8:16 \n8:32 rbytes=1\n", want: ioValues(1, 0, 0, 0, 0, 0)},
		{name: "devices on one line", file: "io.stat", text: "8:0 8:16 rbytes=1 wbytes=2\n", want: ioValues(1, 2, 0, 0, 0, 0)},
		{name: "device just removed", file: "io.stat", text: "(unknown) rbytes=1\n", want: ioValues(1, 0, 0, 0, 0, 0)},
		{name: "unknown value", file: "io.stat", text: "8:0 depth=max rios=2\n", want: ioValues(0, 0, 0, 2, 0, 0)},
		{name: "sum too large", file: "io.stat", text: "8:0 rbytes=18446744073709551615\n8:1 rbytes=2\n", want: ioValues(math.MaxUint64, 0, 0, 0, 0, 0)},
		{name: "no device", file: "io.stat", text: "rbytes=1\n", wantErr: "no device"},
		{name: "word", file: "io.stat", text: "8:0 rbytes\n", wantErr: "neither"},
		{name: "bad bytes", file: "io.stat", text: "8:0 wbytes=1 rbytes=-1\n", wantErr: "no number"},
		{name: "empty line of io", file: "io.stat", text: "\n", wantErr: "no device"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func ioValues(rbytes, wbytes, dbytes, rios, wios, dios uint64) map[string]uint64 {
	return map[string]uint64{
		"io.stat rbytes": rbytes, "io.stat wbytes": wbytes, "io.stat dbytes": dbytes,
		"io.stat rios": rios, "io.stat wios": wios, "io.stat dios": dios,
	}
}

func TestParseErrorQuotesABoundedPart(t *testing.T) {
	file := fileNamed(t, "cpu.stat")
	var reading Reading
	err := file.parse(file, []byte(strings.Repeat("x", 1<<16)), &reading)
	if err == nil {
		t.Fatal("no error")
	}
	if len(err.Line) != maxExcerptBytes {
		t.Errorf("%d bytes quoted, want %d", len(err.Line), maxExcerptBytes)
	}
	err.Cgroup = "/kubepods/pod1"
	if want := `parse /kubepods/pod1/cpu.stat: line "xxx`; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("message %q, want it to start with %q", err.Error(), want)
	}
}

func TestParseProcs(t *testing.T) {
	tests := []struct {
		name, text string
		atEnd      bool
		want       []int
		wantRest   string
		wantErr    bool
	}{
		{name: "empty", atEnd: true},
		{name: "processes", text: "1\n22\n4194304\n", atEnd: true, want: []int{1, 22, 4194304}},
		{name: "no newline at the end", text: "1\n22", atEnd: true, want: []int{1, 22}},
		{name: "rest for later", text: "1\n22", want: []int{1}, wantRest: "22"},
		{name: "other pid namespace", text: "0\n7\n0\n", atEnd: true, want: []int{7}},
		{name: "word", text: "1\nx\n", atEnd: true, want: []int{1}, wantErr: true},
		{name: "negative", text: "-1\n", atEnd: true, wantErr: true},
		{name: "too large", text: "2147483648\n", atEnd: true, wantErr: true},
		{name: "endless line", text: strings.Repeat("1", 1000), wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, rest, err := parseProcs([]byte(tt.text), tt.atEnd, nil)
			if (err != nil) != tt.wantErr {
				t.Errorf("error %v, want one: %v", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if string(rest) != tt.wantRest {
				t.Errorf("rest %q, want %q", rest, tt.wantRest)
			}
		})
	}
}
