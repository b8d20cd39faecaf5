// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// TestLevels checks the measures of the QoS classes and of kubepods against
// the files of their cgroups. The Guaranteed class has none.
func TestLevels(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	agree(t, 3, func() (map[string]string, int) { return levelProblems(t, c, agent) })
}

func levelProblems(t *testing.T, c *cluster.Cluster, agent *Agent) (problems map[string]string, compared int) {
	t.Helper()
	before := cgroups(t, c)
	s, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := cgroups(t, c)
	problems = map[string]string{}
	for where := range before.Cgroups {
		if !isSlice(where) {
			continue
		}
		prefix, level := "slicewatch_kubepods_", map[string]string{}
		for _, class := range []string{"burstable", "besteffort"} {
			if strings.Contains(path.Base(where), class) {
				prefix, level = "slicewatch_qos_", map[string]string{"qos": class}
			}
		}
		differences := Compare(ContainerMeasures(before.Cgroups[where]), ContainerMeasures(after.Cgroups[where]),
			Exported(s, prefix, level), ofContainers)
		for _, difference := range differences {
			key, _, _ := strings.Cut(difference, " ")
			// Two looks do not enclose what a pod takes and gives back.
			if !swings(key) {
				problems[where+" "+key] = where + ": " + difference
			}
		}
		compared++
	}
	maps.Copy(problems, throttlingProblems(s))
	maps.Copy(problems, guaranteedProblems(s, before, after))
	return problems, compared
}

// ofContainers tells what a slice has from its containers: no slice has a
// quota.
func ofContainers(key string) bool {
	return slices.Contains([]string{
		"cpu_periods_total", "cpu_throttled_periods_total", "cpu_throttled_seconds_total", "cpu_burst_periods_total", "cpu_burst_seconds_total",
	}, key)
}

// throttlingProblems holds that the throttling of each class is the sum of its
// containers', and that of kubepods the sum of all.
func throttlingProblems(s Scrape) map[string]string {
	problems := map[string]string{}
	for _, suffix := range []string{"cpu_periods_total", "cpu_throttled_periods_total", "cpu_throttled_seconds_total"} {
		sums, all := map[string]float64{}, 0.0
		for _, one := range s.Named("slicewatch_container_" + suffix) {
			sums[one.Labels["qos"]] += one.Value
			all += one.Value
		}
		for class, want := range sums {
			if got, err := s.One("slicewatch_qos_"+suffix, "qos", class); err != nil || got < want-1e-6 {
				problems[class+suffix] = fmt.Sprintf("slicewatch_qos_%s of %s is %v (%v), its containers' are %v", suffix, class, got, err, want)
			}
		}
		if got, err := s.One("slicewatch_kubepods_" + suffix); err != nil || got < all-1e-6 {
			problems["kubepods"+suffix] = fmt.Sprintf("slicewatch_kubepods_%s is %v (%v), all containers' are %v", suffix, got, err, all)
		}
	}
	return problems
}

// guaranteedSlack is how far the CPU time of the class may be from what two
// looks enclose, in seconds: it is a difference of cgroups that are read one
// after the other.
const guaranteedSlack = 1.0

// guaranteedProblems holds that the class without a slice is kubepods less the
// two others in what the kernel adds up, and the sum of its pods in the rest.
func guaranteedProblems(s Scrape, before, after guestapi.Tree) map[string]string {
	problems := map[string]string{}
	check := func(key string, got float64, err error, first, last, slack float64) {
		if err != nil || got < math.Min(first, last)-slack || got > math.Max(first, last)+slack {
			problems["guaranteed "+key] = fmt.Sprintf("slicewatch_qos_%s of guaranteed is %v (%v), want %v to %v", key, got, err, first, last)
		}
	}
	for _, mode := range []string{"user", "system"} {
		got, err := s.One("slicewatch_qos_cpu_usage_seconds_total", "qos", "guaranteed", "mode", mode)
		key := Key("cpu_usage_seconds_total", "mode", mode)
		check(key, got, err, remainder(before, key), remainder(after, key), guaranteedSlack)
	}
	for _, key := range []string{"pids", "memory_usage_bytes"} {
		got, err := s.One("slicewatch_qos_"+key, "qos", "guaranteed")
		check(key, got, err, sumOfGuaranteed(before, key), sumOfGuaranteed(after, key), 0)
	}
	return problems
}

// remainder is a measure of kubepods less those of the two classes with slices.
func remainder(tree guestapi.Tree, key string) float64 {
	rest := 0.0
	for where, files := range tree.Cgroups {
		switch {
		case !isSlice(where):
		case strings.Contains(where, "/"):
			rest -= PodMeasures(files)[key]
		default:
			rest += PodMeasures(files)[key]
		}
	}
	return rest
}

// sumOfGuaranteed adds up a measure of the pods directly below kubepods.
func sumOfGuaranteed(tree guestapi.Tree, key string) float64 {
	sum := 0.0
	for where, files := range tree.Cgroups {
		if !isSlice(where) && isSlice(path.Dir(where)) && !strings.Contains(path.Dir(where), "/") {
			sum += PodMeasures(files)[key]
		}
	}
	return sum
}

// TestPodLevelResources checks what the API server says of a pod's own resources
// against the pod's series.
func TestPodLevelResources(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	own := podNamed(t, c, workloads.PodLevel).Spec.Resources
	if own == nil || own.Limits.Cpu().IsZero() || own.Limits.Memory().IsZero() {
		t.Fatalf("the API server says that pod %s has the resources %v, want limits of both", workloads.PodLevel, own)
	}
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	labels := []string{"namespace", workloads.Namespace, "pod", workloads.PodLevel, "qos", "burstable"}
	for family, want := range map[string]float64{
		"slicewatch_pod_cpu_limit_cores":    own.Limits.Cpu().AsApproximateFloat64(),
		"slicewatch_pod_memory_limit_bytes": own.Limits.Memory().AsApproximateFloat64(),
	} {
		if got, err := s.One(family, labels...); err != nil || !between(got, want, want) {
			t.Errorf("%s is %v (%v), want %v", family, got, err, want)
		}
	}
}
