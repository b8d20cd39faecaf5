// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/test/vm/long"
)

// TestMemoryLimits has containers killed at their own limit, applies the one
// hint after it, and holds that against what they really need: the most that
// they have without a limit.
func TestMemoryLimits(t *testing.T) {
	parent := pods(t)
	shares := []float64{0.7, 0.9}
	if long.Asked() {
		shares = []float64{0.3, 0.5, 0.7, 0.8, 0.9}
	}
	for i, s := range []struct {
		name, work string
		long       bool
	}{
		{"96 Mi at once", "hold bytes=96Mi", false},
		{"96 Mi within 20 s", "hold bytes=96Mi over=20s", true},
		{"200 Mi within 20 s", "hold bytes=200Mi over=20s", false},
		{"400 Mi at once", "hold bytes=400Mi", false},
		{"400 Mi within 40 s", "hold bytes=400Mi over=40s", true},
	} {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			if s.long {
				long.Only(t, "takes minutes")
			}
			free := newContainer(t, parent, fmt.Sprintf("memory%d", i))
			free.start([]string{s.work})
			time.Sleep(45 * time.Second)
			need := free.number("memory.peak", "")
			free.remove()
			for j, share := range shares {
				c := newContainer(t, parent, fmt.Sprintf("memory%d-%d", i, j))
				killedOnce(t, c, Row{Machine: machine(), Shape: s.name, Class: Memory, Enough: need, Share: share}, s.work)
			}
		})
	}
}

func (c *container) number(file, key string) float64 {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, key); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("no %q in %s", key, file)
	return 0
}

func (c *container) kills() float64 { return c.number("memory.events", "oom_kill ") }

// killedOnce lets the work be killed, applies the hint and starts it again.
func killedOnce(t *testing.T, c *container, row Row, workload string) {
	t.Helper()
	n := newNode(t, false)
	limit := row.Share * row.Enough
	c.write("memory.swap.max", "0")
	c.write("memory.oom.group", "1")
	c.write("memory.max", strconv.Itoa(int(limit)))
	n.sweep(c)
	c.start([]string{workload})
	n.sweepUntil(c, 2*time.Minute, func() bool { return c.kills() > 0 })
	c.stop()
	// What agent/oom makes of the kill: its tests are its own.
	n.ooms = []*snapshot.OOMRecord{{
		ID: 1, Time: time.Now(), Namespace: "test", Pod: c.is.Identity.Pod, Container: c.is.Identity.Name,
		WorkloadKind: "Deployment", Workload: c.is.Identity.Workload, Scope: snapshot.ScopeContainer,
		Limit: &snapshot.OOMLimit{Bytes: snapshot.Amount{N: int64(limit), Known: true}},
	}}
	time.Sleep(time.Second)
	hint := n.sweep(c)
	if hint == nil || !hint.MemoryLimitBytes.Known {
		t.Errorf("%.2f of the need: no hint: %+v", row.Share, hint)
		return
	}
	row.Hint, row.Confidence = hint.MemoryLimitBytes.V/row.Enough, hint.Confidence
	t.Logf("limit %.0f of %.0f, hint %.0f%s", limit, row.Enough, hint.MemoryLimitBytes.V, sentences(hint))
	before := c.kills()
	c.write("memory.max", strconv.Itoa(int(hint.MemoryLimitBytes.V)))
	c.start([]string{workload})
	for began := time.Now(); time.Since(began) < 45*time.Second && c.kills() == before; {
		time.Sleep(time.Second)
		n.sweep(c)
	}
	row.Kills = int(c.kills() - before)
	c.remove()
	tell(t, row)
	if missed := row.Misses(); len(missed) > 0 {
		t.Errorf("%.2f of the need of %.0f Mi: %s", row.Share, row.Enough/(1<<20), strings.Join(missed, ", "))
	}
}
