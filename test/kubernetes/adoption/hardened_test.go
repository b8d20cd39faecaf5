// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/checks"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
)

// lost are the families that docs/security.md says the hardened profile does
// without, kept those of the same matters that it has.
var (
	lost = []string{
		"slicewatch_container_cpu_request_cores", "slicewatch_container_memory_request_bytes", "slicewatch_container_oom_score_adj_expected",
		"slicewatch_hint_cpu_request_cores", "slicewatch_hint_memory_request_bytes",
		"slicewatch_container_cpu_throttle_duration_seconds", "slicewatch_container_memory_stall_duration_seconds",
	}
	kept = []string{
		"slicewatch_container_cpu_usage_seconds_total", "slicewatch_container_cpu_throttled_seconds_total", "slicewatch_container_cpu_pressure_seconds_total",
		"slicewatch_container_memory_working_set_bytes", "slicewatch_container_memory_events_total", "slicewatch_container_oom_score_adj",
		"slicewatch_container_oom_score", "slicewatch_oom_kills_total", "slicewatch_pod_cpu_usage_seconds_total", "slicewatch_qos_cpu_usage_seconds_total",
	}
)

// TestHardened installs the profile that has the least, and holds that it has
// no more and loses no more than docs/security.md says.
func TestHardened(t *testing.T) {
	s := open(t)
	s.startTroubles(t)
	s.importImage(t)
	// An agent with more rights left the names there, which an agent keeps.
	if _, err := s.Node.Shell(t.Context(), "rm -rf /var/lib/slicewatch"); err != nil {
		t.Fatal(err)
	}
	pod := s.install(t, "--values", filepath.Join(s.root, "deploy/helm/values/hardened.yaml"))
	agent := s.reader(pod, agentPort, nil)
	t.Run("rights", func(t *testing.T) { s.checkRights(t, pod) })
	t.Run("names", func(t *testing.T) { s.checkNameless(t, agent) })
	t.Run("families", func(t *testing.T) { checkFamilies(t, agent) })
	t.Run("kills", func(t *testing.T) {
		before := kills(t, agent)
		await(t, "a further kill to be counted", func(context.Context) error {
			if now := kills(t, agent); now <= before {
				return fmt.Errorf("%v kills, as before", now)
			}
			return nil
		})
	})
	t.Run("uninstall", s.checkUninstall)
}

// checkRights looks at what the kernel gives the process.
func (s *stage) checkRights(t *testing.T, pod *corev1.Pod) {
	const script = `for p in /proc/[0-9]*; do
	[ "$(readlink $p/exe)" = /slicewatch ] || continue
	grep -E '^(Cap|NoNewPrivs|Seccomp:)' $p/status
	grep -E ' / / ' $p/mountinfo | grep -q ' ro[, ]' && echo Root: ro
	grep -c -E 'kubernetes.io/serviceaccount| /run/containerd ' $p/mountinfo | sed 's/^/Secrets: /'
done`
	output, err := s.Node.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(output) {
		name, value, _ := strings.Cut(line, ":")
		got[name] = strings.TrimSpace(value)
	}
	none := fmt.Sprintf("%016x", 0)
	want := map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2", "Root": "ro", "Secrets": "0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the agent's process (-want +got):\n%s", diff)
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.HostPath == nil || strings.Contains(volume.HostPath.Path, "containerd") {
			t.Errorf("the pod has the volume %+v", volume)
		}
	}
}

func scrape(t *testing.T, agent *reader) (checks.Scrape, string) {
	t.Helper()
	status, body, err := agent.get(t.Context(), "/metrics", "")
	if err != nil || status != 200 {
		t.Fatalf("scrape the agent: %d %v", status, err)
	}
	parsed, err := checks.ParseScrape(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return parsed, body
}

// checkNameless holds that every container is there once, as the beginning of
// its id in a pod that is its UID, and that no sandbox is.
func (s *stage) checkNameless(t *testing.T, agent *reader) {
	await(t, "all containers, and nothing else, to be exported", func(ctx context.Context) error {
		found, err := s.API.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
		if err != nil {
			return err
		}
		var want, got []string
		for _, c := range checks.Running(found.Items) {
			if c.Namespace == troubled && c.Pod == "killed" || c.WorkloadKind == "StaticPod" || c.WorkloadKind == "CronJob" {
				continue // comes and goes, or has a UID of its own in the cgroup
			}
			_, id, _ := strings.Cut(c.ID, "://")
			want = append(want, "//"+c.UID+"/"+id[:12])
		}
		ours, _ := scrape(t, agent)
		unknown := 0
		for _, info := range ours.Named("slicewatch_container_info") {
			name := info.Labels["workload"] + "/" + info.Labels["namespace"] + "/" + info.Labels["pod"] + "/" + info.Labels["container"]
			if slices.Contains(want, name) {
				got = append(got, name)
			} else {
				unknown++
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("containers (-want +got):\n%s", diff)
		}
		// The killed one, static ones, and those of ended Jobs for a while.
		if unknown > 8 {
			return fmt.Errorf("%d more containers than there are", unknown)
		}
		return nil
	})
}

// checkFamilies holds what is lost and what is not.
func checkFamilies(t *testing.T, agent *reader) {
	s, body := scrape(t, agent)
	var up []string
	for _, one := range s.Named("slicewatch_source_up") {
		up = append(up, fmt.Sprintf("%s=%v", one.Labels["source"], one.Value))
	}
	slices.Sort(up)
	if diff := cmp.Diff([]string{"cgroup_files=1", "procfs=1", "state=1"}, up); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	for _, name := range lost {
		if strings.Contains(body, "\n"+name) {
			t.Errorf("%s is there, and should be lost", name)
		}
	}
	for _, name := range kept {
		if len(s.Named(name)) == 0 {
			t.Errorf("%s is lost", name)
		}
	}
}

func kills(t *testing.T, agent *reader) float64 {
	t.Helper()
	s, _ := scrape(t, agent)
	sum := 0.0
	for _, one := range s.Named("slicewatch_oom_kills_total") {
		sum += one.Value
	}
	return sum
}
