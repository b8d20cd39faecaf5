// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slicewatch/slicewatch/agent/snapshot"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestSelection(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := NewSelfMetrics(registry, Build{}); err != nil {
		t.Fatal(err)
	}
	whole := func(expression string) *regexp.Regexp { return regexp.MustCompile("^(?:" + expression + ")$") }
	const detail, plain = "slicewatch_container_memory_refaults_total", "slicewatch_container_pids"
	for _, test := range []struct {
		name            string
		selection       Selection
		present, absent []string
	}{
		{"default", Selection{}, []string{plain, "go_goroutines"}, []string{detail, "slicewatch_pod_pids_limit"}},
		{"all", Selection{DetailAll: true}, []string{plain, detail, "slicewatch_pod_pids_limit"}, nil},
		{"include", Selection{Include: whole(detail)}, []string{plain, detail}, []string{"slicewatch_pod_memory_refaults_total"}},
		{"exclude", Selection{Exclude: whole("go_.*|" + plain)}, nil, []string{plain, "go_goroutines"}},
		{"exclude wins", Selection{DetailAll: true, Include: whole(detail), Exclude: whole(detail)}, []string{plain}, []string{detail}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := parse(t, text(t, NewGatherer(storeOf(fullSnapshot()), registry, test.selection)))
			for _, name := range test.present {
				if found[name] == nil {
					t.Errorf("%s is missing", name)
				}
			}
			for _, name := range test.absent {
				if found[name] != nil {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
}

func TestNamespacesExclude(t *testing.T) {
	s := fullSnapshot()
	s.Pods = append(s.Pods, fullPod(2, "kube-system", "dns"))
	s.Containers = append(s.Containers, fullContainer(2, "kube-system", "dns", "coredns"), fullContainer(3, "", "uid", "0123456789ab"))
	selection := Selection{NamespacesExclude: regexp.MustCompile("^(?:kube-.*|)$")}
	for name, g := range map[string]*Gatherer{
		"own": NewGatherer(storeOf(s), nil, selection), "cadvisor": NewCadvisorGatherer(storeOf(s), selection),
	} {
		exposition := text(t, g)
		if strings.Contains(exposition, "kube-system") {
			t.Errorf("%s: the excluded namespace is there", name)
		}
		if !strings.Contains(exposition, `namespace="shop"`) || !strings.Contains(exposition, "0123456789ab") {
			t.Errorf("%s: another namespace or an unknown one is missing", name)
		}
	}
}

func TestHostileLabelValues(t *testing.T) {
	c := fullContainer(1, "shop", "a\"b\\c\nd\x00", "bad\xff\xfeutf8")
	c.Identity.Image = strings.Repeat("ä", 3000)
	store := storeOf(snapshot.Snapshot{Containers: []snapshot.Container{c}})
	mfs, done, err := NewGatherer(store, nil, Selection{}).Gather()
	defer done()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range mfs {
		for _, m := range mf.Metric {
			for _, l := range m.Label {
				if !utf8.ValidString(l.GetValue()) || len(l.GetValue()) > maxLabelBytes {
					t.Errorf("%s: label %s is %d bytes, valid: %t", mf.GetName(), l.GetName(), len(l.GetValue()), utf8.ValidString(l.GetValue()))
				}
			}
		}
	}
	got := make(map[string]string)
	for _, l := range parse(t, text(t, NewGatherer(store, nil, Selection{})))["slicewatch_container_pids"].GetMetric()[0].Label {
		got[l.GetName()] = l.GetValue()
	}
	want := map[string]string{"namespace": "shop", "pod": "a\"b\\c\nd\x00", "container": "bad?utf8", "qos": "burstable"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("labels after a parser read them back (-want +got):\n%s", diff)
	}
}

func FuzzCleanLabelValue(f *testing.F) {
	for _, seed := range []string{"", "web-1", "bad\xff\xfeutf8", strings.Repeat("ä", 600), strings.Repeat("\xf0\x9f", 700), strings.Repeat("x", 1024) + "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := cleanLabelValue(value)
		if !utf8.ValidString(got) || len(got) > maxLabelBytes {
			t.Errorf("%q became %q", value, got)
		}
		if utf8.ValidString(value) && len(value) <= maxLabelBytes && got != value {
			t.Errorf("%q became %q for no reason", value, got)
		}
	})
}
