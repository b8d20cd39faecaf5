// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	const passes = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
`
	tests := map[string]struct {
		input  string
		failed bool
		want   string
	}{
		"all well": {
			input: passes + `{"Action":"output","Package":"p","Output":"ok\n"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":0.25}`,
			want:  "pass  p 0.2s\n1 tests passed, 0 failed, 0 skipped\n",
		},
		"skips are told": {
			input: passes + `{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"q"}
`,
			want: "-     q (no test files)\nskipped: p TestB: b_test.go:3: needs root\n1 tests passed, 0 failed, 1 skipped\n",
		},
		"failures are shown": {
			input: passes + `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Elapsed":1}
`,
			failed: true,
			want:   "    b_test.go:3: wrong\nfail  p 1.0s\n1 tests passed, 1 failed, 0 skipped\n",
		},
		"a build fails": {
			input: passes + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"ImportPath":"q","Action":"build-fail"}
`,
			failed: true,
			want:   "q.go:1: syntax error\n1 tests passed, 0 failed, 0 skipped\n",
		},
		"a process dies": {
			input:  passes + `{"Action":"output","Package":"p","Test":"TestB","Output":"fatal error\n"}`,
			failed: true,
			want:   "never ended: p TestB\nfatal error\n1 tests passed, 0 failed, 0 skipped\n",
		},
		"go itself fails":    {input: "go: no such tool\n", failed: true, want: "go: no such tool\n0 tests passed, 0 failed, 0 skipped\n"},
		"nothing was tested": {input: "", failed: true, want: "0 tests passed, 0 failed, 0 skipped\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			failed, err := report(strings.NewReader(test.input), &out)
			if err != nil || failed != test.failed {
				t.Errorf("failed %t, error %v; want %t", failed, err, test.failed)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}
