// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/exporter"
)

func lives() *exporter.LifeList {
	at := time.Date(2026, 11, 21, 20, 2, 17, 120e6, time.UTC)
	seconds := func(v float64) *float64 { return &v }
	life := func(ago, lived time.Duration, cpu float64, end snapshot.LifeEnd) exporter.Life {
		l := exporter.Life{
			Namespace: "shop", Pod: "web-5d8f", Container: "server", QoS: "burstable", PodUID: "8cc5f8c0", ContainerID: "948e47cc", CgroupID: 8431,
			Started: at.Add(-ago), End: end, CPUSeconds: seconds(cpu), MemoryPeakBytes: known(48 << 20), MemoryLimitBytes: known(64 << 20),
		}
		if end != snapshot.LifeRuns {
			l.Ended = l.Started.Add(lived)
		}
		return l
	}
	killed := life(5*time.Minute, 4*time.Minute+11*time.Second, 75.2, snapshot.LifeOOMKilled)
	killed.ThrottledSeconds = seconds(0.5)
	return &exporter.LifeList{Time: at, Matching: 7, Lives: []exporter.Life{
		life(3*time.Second, 0, 0.0412, snapshot.LifeRuns), killed, life(10*time.Minute, 12340*time.Millisecond, 2.345, snapshot.LifeEnded),
		{Pod: "a9100000-0000-4000-8000-000000000003", Container: "41340d\x1b1d4", QoS: "besteffort", Ended: at.Add(-time.Hour), End: snapshot.LifeUnseen},
		life(51*time.Hour, 0, 7210, snapshot.LifeRuns),
	}}
}

func TestWriteLives(t *testing.T) {
	for _, form := range Forms() {
		var b bytes.Buffer
		if err := WriteLives(&b, lives(), form); err != nil {
			t.Fatal(err)
		}
		holdsGolden(t, "lives."+form, b.String())
	}
	var b bytes.Buffer
	if err := WriteLives(&b, &exporter.LifeList{}, Table); err != nil || b.String() != "No such container runs, and none ended in the last hour.\n" {
		t.Errorf("without lives: %q, %v", b.String(), err)
	}
}

func TestLivesAreAskedFor(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = w.Write([]byte(`{"time":"2026-11-21T20:02:17Z","lives":[{"container":"a","end":"ended","cpuSeconds":0.5}],"matching":1}`))
	}))
	defer server.Close()
	c, err := New(Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Lives(t.Context(), RecordQuery{Limit: 3, Pod: "web-0"})
	if err != nil || asked != "/api/v1/lives?limit=3&pod=web-0" {
		t.Fatalf("asked for %s, %v", asked, err)
	}
	half := 0.5
	want := &exporter.LifeList{
		Time: time.Date(2026, 11, 21, 20, 2, 17, 0, time.UTC), Matching: 1,
		Lives: []exporter.Life{{Container: "a", End: snapshot.LifeEnded, CPUSeconds: &half}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestSpellDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 41200 * time.Microsecond: "41ms", 999 * time.Millisecond: "999ms", 999900 * time.Microsecond: "1.00s",
		2346 * time.Millisecond: "2.35s", 9996 * time.Millisecond: "10.0s", 59960 * time.Millisecond: "1m0s", 61 * time.Second: "1m1s",
		90 * time.Minute: "1h30m", 51 * time.Hour: "2d3h",
	} {
		if got := spellDuration(d); got != want {
			t.Errorf("%v is spelt %s, want %s", d, got, want)
		}
	}
}
