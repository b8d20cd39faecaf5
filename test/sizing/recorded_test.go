// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
)

func TestWindowsComeBack(t *testing.T) {
	want := &Recorded{
		Machine: "Linux", Shape: "a", Class: Pool, Enough: 0.7, Share: 0.4, Records: quota.Records{
			Start: time.Unix(1, 0).UTC(), QuotaCores: 0.28, Length: time.Second / 10, CPUs: 4, Exact: true,
			Periods: []quota.Period{{Index: 3, Used: time.Millisecond, Throttled: true, Runnable: 2}},
		},
	}
	got, err := ParseRecorded("    cpu_test.go:3: " + want.Line() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("from a line (-want +got):\n%s", diff)
	}
	var file bytes.Buffer
	if err := WriteRecorded(&file, []*Recorded{want, want}); err != nil {
		t.Fatal(err)
	}
	all, err := ReadRecorded(&file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*Recorded{want, want}, all); diff != "" {
		t.Errorf("from a file (-want +got):\n%s", diff)
	}
	if got, err := ParseRecorded("    cpu_test.go:3: nothing"); got != nil || err != nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	if _, err := ParseRecorded(recordsMark + "H4sI"); err == nil {
		t.Error("half a window is none")
	}
}
