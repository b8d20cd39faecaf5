// SPDX-License-Identifier: Apache-2.0

// Package benchresult is what the benchmarks in the machine tell the program
// that shows their figures. It owns the wording of both tables' rows and the
// Markdown. It must not know how anything is measured.
package benchresult

import (
	"fmt"
	"strings"
)

// Result is one run.
type Result struct {
	Kernel, Arch, Go string
	// Pods of so many Containers each, besides the sandboxes, are so many
	// Cgroups with kubepods and the classes.
	Pods, Containers, Cgroups int
	Sweeps                    []Row
	// Scrapes of /metrics and of /metrics/cadvisor, of so many series.
	Scrapes, Cadvisor            []Row
	ScrapeSeries, CadvisorSeries int
	// Agent reads through the eBPF iterator, FilesAgent does not (--bpf=off).
	Agent, FilesAgent Agent
}

// Row is one way to do a work. The first of a table is ours.
type Row struct {
	Name string
	// Nanos is the time that one takes, by the machine's clock.
	Nanos float64
	// Allocations and AllocatedBytes are those of one.
	Allocations, AllocatedBytes float64
}

// Agent is the real agent in a cgroup of its own.
type Agent struct {
	// SweepNanos and ScrapeNanos are CPU time, the process's whole use in
	// between included.
	SweepNanos, ScrapeNanos float64
	// ResidentBytes is VmRSS after some minutes, of which AnonBytes (RssAnon)
	// are no pages of the binary; PeakBytes is VmHWM.
	ResidentBytes, AnonBytes, PeakBytes float64
	// CgroupBytes is memory.current of its cgroup, of which KernelBytes are
	// the kernel's.
	CgroupBytes, KernelBytes float64
	Descriptors, KeptFiles   int
	Series                   int
}

const million = 1e6

// Markdown returns the tables.
func (r Result) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s, %s, emulated; %s; %d idle pods of %d containers and a sandbox: %d cgroups.\n",
		r.Kernel, r.Arch, r.Go, r.Pods, r.Containers, r.Cgroups)
	table(&b, "One sweep of all cgroups", r.Sweeps)
	table(&b, fmt.Sprintf("One scrape of /metrics, %d series", r.ScrapeSeries), r.Scrapes)
	table(&b, fmt.Sprintf("One scrape of /metrics/cadvisor, %d series", r.CadvisorSeries), r.Cadvisor)
	r.minute(&b)
	r.agent(&b)
	return b.String()
}

func table(b *strings.Builder, title string, rows []Row) {
	fmt.Fprintf(b, "\n| %s | times ours | instructions (million) | allocations | allocated KiB |\n| --- | ---: | ---: | ---: | ---: |\n", title)
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s | %.1f | %.0f | %.0f |\n",
			row.Name, ratio(row.Nanos, rows[0].Nanos), row.Nanos/million, row.Allocations, row.AllocatedBytes/1024)
	}
}

// ratio is to two digits: more do not repeat from one kernel to the next.
func ratio(of, to float64) string {
	switch v := of / to; {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.1f", v)
	}
}

// scrapesPerMinute is at Prometheus' usual interval of 15 s.
const scrapesPerMinute = 4

// minute compares whole exporters: ours sweeps every second, whatever is
// scraped; the usual one reads everything at each scrape and sees nothing in
// between.
func (r Result) minute(b *strings.Builder) {
	ours := 60*r.Agent.SweepNanos + scrapesPerMinute*r.Agent.ScrapeNanos
	plain := scrapesPerMinute * (find(r.Sweeps, PlainSweep).Nanos + find(r.Scrapes, PlainScrape).Nanos)
	fmt.Fprintf(b, "\n| One minute, a scrape every 15 s | times ours | instructions (million) | looks at each cgroup |\n| --- | ---: | ---: | ---: |\n")
	fmt.Fprintf(b, "| the agent, all of it | 1.0 | %.0f | 60 |\n", ours/million)
	files := 60*r.FilesAgent.SweepNanos + scrapesPerMinute*r.FilesAgent.ScrapeNanos
	fmt.Fprintf(b, "| the agent with --bpf=off | %s | %.0f | 60 |\n", ratio(files, ours), files/million)
	seldom := scrapesPerMinute * (r.Agent.SweepNanos + r.Agent.ScrapeNanos)
	fmt.Fprintf(b, "| the agent with a sweep for each scrape (reckoned) | %s | %.0f | %d |\n", ratio(seldom, ours), seldom/million, scrapesPerMinute)
	fmt.Fprintf(b, "| %s and %s at each scrape | %s | %.0f | %d |\n", PlainSweep, PlainScrape, ratio(plain, ours), plain/million, scrapesPerMinute)
}

// find returns the row with a name.
func find(rows []Row, name string) Row {
	for _, row := range rows {
		if row.Name == name {
			return row
		}
	}
	return Row{Name: name}
}

func (r Result) agent(b *strings.Builder) {
	fmt.Fprintf(b, "\n| The agent's process | eBPF iterator | --bpf=off |\n| --- | ---: | ---: |\n")
	for _, row := range []struct {
		name, format string
		value        func(Agent) float64
		unit         float64
	}{
		{"instructions of one sweep, everything else that it does in that second included (million)", "%.1f", func(a Agent) float64 { return a.SweepNanos }, million},
		{"instructions of one scrape over HTTP, gzip, names unknown (million)", "%.1f", func(a Agent) float64 { return a.ScrapeNanos }, million},
		{"series of that scrape", "%.0f", func(a Agent) float64 { return float64(a.Series) }, 1},
		{"resident memory (MiB)", "%.1f", func(a Agent) float64 { return a.ResidentBytes }, mi},
		{"of that not the binary's own pages (MiB)", "%.1f", func(a Agent) float64 { return a.AnonBytes }, mi},
		{"highest resident memory (MiB)", "%.1f", func(a Agent) float64 { return a.PeakBytes }, mi},
		{"memory.current of its cgroup (MiB)", "%.1f", func(a Agent) float64 { return a.CgroupBytes }, mi},
		{"of that the kernel's, for descriptors, eBPF maps and inotify (MiB)", "%.1f", func(a Agent) float64 { return a.KernelBytes }, mi},
		{"descriptors", "%.0f", func(a Agent) float64 { return float64(a.Descriptors) }, 1},
		{"of those kept cgroup files", "%.0f", func(a Agent) float64 { return float64(a.KeptFiles) }, 1},
	} {
		fmt.Fprintf(b, "| %s | "+row.format+" | "+row.format+" |\n", row.name, row.value(r.Agent)/row.unit, row.value(r.FilesAgent)/row.unit)
	}
}

const mi = 1 << 20

// The names of the rows that Markdown puts together.
const (
	PlainSweep  = "containerd/cgroups v3 Manager.Stat"
	PlainScrape = "const metrics, promhttp, gzip"
)
