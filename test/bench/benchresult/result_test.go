// SPDX-License-Identifier: Apache-2.0

package benchresult

import (
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	r := Result{
		Kernel: "6.12", Arch: "arm64", Go: "go1.26", Pods: 110, Containers: 2, Cgroups: 443,
		Sweeps:     []Row{{Name: "ours", Nanos: 40e6}, {Name: PlainSweep, Nanos: 350e6, Allocations: 117_000, AllocatedBytes: 2048}},
		Scrapes:    []Row{{Name: "ours", Nanos: 20e6}, {Name: PlainScrape, Nanos: 250e6}},
		Agent:      Agent{SweepNanos: 50e6, ScrapeNanos: 25e6, ResidentBytes: 42 << 20, Descriptors: 1147},
		FilesAgent: Agent{SweepNanos: 80e6, ScrapeNanos: 25e6, ResidentBytes: 47 << 20, Descriptors: 4400},
	}
	got := r.Markdown()
	for _, want := range []string{
		"443 cgroups", "| ours | 1.0 | 40.0 | 0 | 0 |\n", "| 8.8 | 350.0 | 117000 | 2 |\n", "| 12 | 250.0 |",
		"| the agent, all of it | 1.0 | 3100 | 60 |\n", "(reckoned) | 0.1 | 300 | 4 |\n", "at each scrape | 0.8 | 2400 | 4 |\n",
		"| resident memory (MiB) | 42.0 | 47.0 |\n", "| descriptors | 1147 | 4400 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the tables do not have %q:\n%s", want, got)
		}
	}
}
