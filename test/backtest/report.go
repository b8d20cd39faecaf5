// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"fmt"
	"io"
	"strings"
)

// goal is a line of the table of goals.
type goal struct {
	what        string
	got, atMost float64
	atLeast     bool
	note        string
}

func (g goal) met() bool {
	if g.atLeast {
		return g.got >= g.atMost
	}
	return g.got <= g.atMost
}

// Goals says which of the goals were met on the traces that are long enough.
func (j Judgement) goals() []goal {
	var all []goal
	if cpu := Long(j.CPU); len(cpu) > 0 {
		g := GoalsOfCPU(cpu)
		for i, ratio := range g.Against {
			all = append(all, goal{what: "CPU: cost95 against " + j.Recommenders[i+1], got: ratio, atMost: 0.85})
		}
		all = append(all,
			goal{what: "CPU: cost95 against the better of them on each trace", got: g.Best, atMost: 0.93},
			goal{what: "CPU: the same on the worst trace", got: g.Worst, atMost: 1.15, note: g.WorstTrace},
			goal{what: "CPU: most changes in 14 days", got: g.MostChanges, atMost: mostChanges,
				note: fmt.Sprintf("%s; more than that on %d of %d traces", g.MostChangesTrace, g.TooMany, len(cpu))})
	}
	if memory := Long(j.Memory); len(memory) > 0 {
		g := GoalsOfMemory(memory)
		atMost := []struct{ kills, limit float64 }{{0.75, 0.96}, {1, 1}} // VPA, the percentile recommender
		for i, name := range j.Recommenders[1:] {
			all = append(all,
				goal{what: "memory: OOM kills against " + name, got: float64(g.Kills[0]) / float64(g.Kills[i+1]), atMost: atMost[i].kills,
					note: fmt.Sprintf("%d against %d", g.Kills[0], g.Kills[i+1])},
				goal{what: "memory: mean limit against " + name, got: g.Limit[i], atMost: atMost[i].limit})
		}
		all = append(all, goal{what: "memory: share of traces on which it beats both", got: g.BeatsAll, atMost: 0.7, atLeast: true})
	}
	return all
}

// Missed returns how many goals were not met.
func (j Judgement) Missed() int {
	missed := 0
	for _, g := range j.goals() {
		if !g.met() {
			missed++
		}
	}
	return missed
}

// WriteMarkdown writes the tables.
func (j Judgement) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Goals\n\nOver %d traces of CPU and %d of memory of at least seven days; ratios are geometric means over traces.\n\n",
		len(Long(j.CPU)), len(Long(j.Memory)))
	b.WriteString("| | result | goal | |\n| --- | --- | --- | --- |\n")
	for _, g := range j.goals() {
		bound, verdict := "at most", "met"
		if g.atLeast {
			bound = "at least"
		}
		if !g.met() {
			verdict = "**missed**"
		}
		if g.note != "" {
			verdict += " (" + g.note + ")"
		}
		fmt.Fprintf(&b, "| %s | %.3f | %s %.2f | %s |\n", g.what, g.got, bound, g.atMost, verdict)
	}
	j.writeCPU(&b)
	j.writeMemory(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (j Judgement) writeCPU(b *strings.Builder) {
	if len(j.CPU) == 0 {
		return
	}
	b.WriteString("\n### CPU requests\n\ncost95 = (0.05 x slack + 0.95 x shortage) / use. Slack and shortage are in parts of what was used; above is the share of the\ntime with more use than request.\n\n| trace |")
	for _, name := range j.Recommenders {
		fmt.Fprintf(b, " %s: cost95 | slack | shortage | above | changes |", name)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- | --- | --- | --- | --- |", len(j.Recommenders)) + "\n")
	for _, r := range j.CPU {
		fmt.Fprintf(b, "| %s/%s |", r.Trace.Origin, r.Trace.Name)
		for _, s := range r.Scores {
			fmt.Fprintf(b, " %.3f | %.2f | %.3f | %.1f %% | %d |", s.Cost95(), s.Slack(), s.Shortage(), 100*s.Above(), s.Changes)
		}
		b.WriteString("\n")
	}
}

func (j Judgement) writeMemory(b *strings.Builder) {
	if len(j.Memory) == 0 {
		return
	}
	b.WriteString("\n### Memory limits\n\nWaste is what was set aside and not used, in parts of what was used.\n\n| trace |")
	for _, name := range j.Recommenders {
		fmt.Fprintf(b, " %s: OOM kills | mean limit | waste | changes |", name)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- | --- | --- | --- |", len(j.Recommenders)) + "\n")
	for _, r := range j.Memory {
		fmt.Fprintf(b, "| %s/%s |", r.Trace.Origin, r.Trace.Name)
		for _, s := range r.Scores {
			fmt.Fprintf(b, " %d | %.0f Mi | %.0f %% | %d |", s.Kills, s.MeanLimit/mebibyte, 100*s.Waste(), s.Changes)
		}
		b.WriteString("\n")
	}
}
