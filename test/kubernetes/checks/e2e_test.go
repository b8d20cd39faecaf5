// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
	"github.com/slicewatch/slicewatch/test/kubernetes/workloads"
)

// rounds is how often values that move between two reads may be looked at
// before they count as wrong.
const rounds = 4

// lack skips the test for what it needs and has not; in the end-to-end run,
// which has put everything there, that is a failure.
func lack(t *testing.T, format string, arguments ...any) {
	t.Helper()
	if os.Getenv(RequiredEnv) != "" {
		t.Fatalf(format, arguments...)
	}
	t.Skipf(format, arguments...)
}

// open returns the running cluster and its agent, or skips the test.
func open(t *testing.T) (*cluster.Cluster, *corev1.Pod, *Agent) {
	t.Helper()
	c, err := cluster.Open(cluster.Config{Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, cluster.ErrNone) {
		lack(t, "needs a Kubernetes cluster: %v, or run `make e2e`", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	pod, err := AgentPod(t.Context(), c)
	if errors.Is(err, ErrNoAgent) {
		lack(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, pod, NewAgent(c, pod)
}

// openWithWorkloads is open, skipping also without the workloads.
func openWithWorkloads(t *testing.T) (*cluster.Cluster, *corev1.Pod, *Agent) {
	t.Helper()
	c, pod, agent := open(t)
	pods := podsOfNode(t, c)
	if missing := workloads.Missing(pods); len(missing) > 0 && !onlyRestarting(missing) {
		lack(t, "workloads are missing: start them with `cluster workloads`: %s", strings.Join(missing, " "))
	}
	return c, pod, agent
}

// onlyRestarting accepts that a CronJob's pod has just ended.
func onlyRestarting(missing []string) bool {
	return !slices.ContainsFunc(missing, func(name string) bool { return !strings.HasPrefix(name, "often-") })
}

func podsOfNode(t *testing.T, c *cluster.Cluster) []corev1.Pod {
	t.Helper()
	found, err := c.API.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
	if err != nil {
		t.Fatal(err)
	}
	return found.Items
}

// sourceUp says whether the agent has the source at all, and whether it is up.
func sourceUp(s Scrape, name string) (exists, up bool) {
	value, err := s.One("slicewatch_source_up", "source", name)
	return err == nil, value == 1
}

// stable returns a scrape and the pods of the API server as they were before
// and after it, which are the same.
func stable(t *testing.T, c *cluster.Cluster, agent *Agent) (Scrape, []Container) {
	t.Helper()
	for {
		before := Running(podsOfNode(t, c))
		s, err := agent.ScrapeAfter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := Running(podsOfNode(t, c))
		if cmp.Equal(before, after, cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })) {
			return s, before
		}
	}
}

// TestLabels checks the names of every running container.
func TestLabels(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	if s, err := agent.Scrape(t.Context()); err != nil {
		t.Fatal(err)
	} else if exists, up := sourceUp(s, "kubernetes"); !exists {
		lack(t, "this agent does not know the API server: slicewatch_source_up has no source=kubernetes")
	} else if !up {
		t.Fatal("slicewatch_source_up says that the API server cannot be reached")
	}
	var problems []string
	for range rounds {
		s, running := stable(t, c, agent)
		if problems = labelProblems(s, running); len(problems) == 0 {
			return
		}
		time.Sleep(2 * time.Second)
	}
	t.Errorf("after %d looks:\n%s", rounds, strings.Join(problems, "\n"))
}

func labelProblems(s Scrape, running []Container) []string {
	var problems []string
	exported := map[string][]Series{}
	for _, one := range s.Named("slicewatch_container_info") {
		id := bareID(one.Labels["container_id"])
		exported[id] = append(exported[id], one)
	}
	for _, c := range running {
		found := exported[bareID(c.ID)]
		if len(found) != 1 {
			problems = append(problems, fmt.Sprintf("%s/%s/%s: %d series of %s, want 1", c.Namespace, c.Pod, c.Name, len(found), c.ID))
			continue
		}
		if diff := cmp.Diff(c.InfoLabels(), found[0].Labels); diff != "" {
			problems = append(problems, fmt.Sprintf("%s/%s/%s (-want +got):\n%s", c.Namespace, c.Pod, c.Name, diff))
		}
		for family, want := range map[string]float64{
			"slicewatch_container_cpu_request_cores":    c.CPURequest,
			"slicewatch_container_memory_request_bytes": c.MemoryRequest,
		} {
			got, err := s.One(family, "namespace", c.Namespace, "pod", c.Pod, "container", c.Name)
			switch {
			case want != want && err == nil:
				problems = append(problems, fmt.Sprintf("%s/%s/%s: %s is %v without a request", c.Namespace, c.Pod, c.Name, family, got))
			case want == want && (err != nil || !between(got, want, want)):
				problems = append(problems, fmt.Sprintf("%s/%s/%s: %s is %v (%v), want %v", c.Namespace, c.Pod, c.Name, family, got, err, want))
			}
		}
	}
	if value, err := s.One("slicewatch_unidentified_containers"); err != nil || value != 0 {
		problems = append(problems, fmt.Sprintf("slicewatch_unidentified_containers is %v (%v), want 0", value, err))
	}
	return problems
}

// TestValues checks every measure of every container and pod against its
// cgroup's files.
func TestValues(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	agree(t, 15, func() (map[string]string, int) { return valueProblems(t, c, agent) })
}

// agree looks at values until each was right in one of the rounds, as some move
// to and fro, and fails with the problems of those that never were. look
// returns problems by what they are about, and how many subjects it compared,
// which must be at least least.
func agree(t *testing.T, least int, look func() (problems map[string]string, compared int)) {
	t.Helper()
	var wrong map[string]string
	for round := range rounds {
		found, compared := look()
		if compared < least {
			t.Fatalf("only %d subjects could be compared, want %d at least", compared, least)
		}
		if round == 0 {
			wrong = found
		}
		for key := range wrong {
			if _, still := found[key]; !still {
				delete(wrong, key)
			}
		}
		t.Logf("round %d: %d subjects compared, %d values differ so far", round+1, compared, len(wrong))
		if len(wrong) == 0 {
			return
		}
	}
	for _, problem := range wrong {
		t.Error(problem)
	}
}

// valueProblems compares once. Problems are by subject and key.
func valueProblems(t *testing.T, c *cluster.Cluster, agent *Agent) (problems map[string]string, checked int) {
	t.Helper()
	before := cgroups(t, c)
	s, err := agent.ScrapeAfter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := cgroups(t, c)
	problems = map[string]string{}
	add := func(subject, namespace, pod string, differences []string) {
		for _, difference := range differences {
			key, _, _ := strings.Cut(difference, " ")
			// The agent's own memory moves while it is looked at, too.
			if (pod == workloads.High || namespace == install.Namespace) && swings(key) {
				continue
			}
			problems[subject+" "+key] = subject + ": " + difference
		}
	}
	pods := map[string]bool{}
	for _, info := range s.Named("slicewatch_container_info") {
		id := bareID(info.Labels["container_id"])
		where := cgroupOf(before, id)
		if where == "" || after.Cgroups[where] == nil || restarted(s, info) {
			continue
		}
		level := map[string]string{
			"namespace": info.Labels["namespace"], "pod": info.Labels["pod"],
			"container": info.Labels["container"], "qos": info.Labels["qos"],
		}
		subject := fmt.Sprintf("container %s/%s/%s (%s)", level["namespace"], level["pod"], level["container"], where)
		add(subject, level["namespace"], level["pod"], Compare(ContainerMeasures(before.Cgroups[where]), ContainerMeasures(after.Cgroups[where]),
			Exported(s, "slicewatch_container_", level), elsewhere))
		checked++
		delete(level, "container")
		above := path.Dir(where)
		if pods[above] {
			continue
		}
		pods[above] = true
		add("pod "+level["namespace"]+"/"+level["pod"]+" ("+above+")", level["namespace"], level["pod"], Compare(PodMeasures(before.Cgroups[above]),
			PodMeasures(after.Cgroups[above]), Exported(s, "slicewatch_pod_", level), elsewhere))
	}
	return problems, checked
}

// swings tells the values that go up and down all the time where a container
// takes memory and gives it back, so that no two reads enclose them.
func swings(key string) bool {
	suffix, _, _ := strings.Cut(key, "{")
	return slices.Contains([]string{"memory_usage_bytes", "memory_working_set_bytes", "memory_stat_bytes"}, suffix)
}

// usedFiles are those that measures are computed from. The emulated node takes
// long to read all of them.
var usedFiles = []string{
	"cpu.max", "cpu.max.burst", "cpu.pressure", "cpu.stat", "cpu.weight", "io.pressure", "io.stat",
	"memory.current", "memory.events", "memory.events.local", "memory.high", "memory.max", "memory.peak", "memory.pressure", "memory.stat",
	"pids.current", "pids.max",
}

func cgroups(t *testing.T, c *cluster.Cluster) guestapi.Tree {
	t.Helper()
	tree, err := c.Node.Cgroups(t.Context(), usedFiles...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func cgroupOf(tree guestapi.Tree, id string) string {
	for where := range tree.Cgroups {
		if strings.Contains(path.Base(where), id) {
			return where
		}
	}
	return ""
}

// restarted leaves out whose counters go on from an incarnation before.
func restarted(s Scrape, info Series) bool {
	starts, err := s.One("slicewatch_container_starts_total", "namespace", info.Labels["namespace"],
		"pod", info.Labels["pod"], "container", info.Labels["container"])
	return err == nil && starts != 1
}

// elsewhere tells the families of a container that are not cgroup files'.
func elsewhere(key string) bool {
	suffix, _, _ := strings.Cut(key, "{")
	return slices.Contains([]string{
		"info", "start_time_seconds", "starts_total", "cpu_request_cores", "memory_request_bytes",
		"cpu_peak_cores", "memory_peak_bytes", "oom_score_adj", "oom_score_adj_expected", "oom_score", "oom_rank",
	}, suffix)
}

// TestOOMScores checks the adjustment of every container, and that the
// kubelet's rule gives the same.
func TestOOMScores(t *testing.T) {
	c, _, agent := openWithWorkloads(t)
	s, running := stable(t, c, agent)
	tree := cgroups(t, c)
	if exists, up := sourceUp(s, "kubernetes"); !exists || !up {
		t.Fatal("without the API server there is no expected adjustment")
	}
	var left []Container
	for _, one := range running {
		if compareScores(t, s, tree, one) == 0 {
			left = append(left, one)
		}
	}
	t.Logf("%d of %d containers compared", len(running)-len(left), len(running))
	still := lasting(t, c)
	for _, one := range left {
		// A CronJob's container ends, and the API server hears of it later.
		if still[bareID(one.ID)] && !onlyRestarting([]string{one.Pod}) {
			t.Errorf("%s/%s was not compared: its cgroup is %q", one.Pod, one.Name, cgroupOf(tree, bareID(one.ID)))
		} else {
			t.Logf("left out: %s/%s/%s", one.Namespace, one.Pod, one.Name)
		}
	}
}

// compareScores compares each of a container's processes, and returns how many
// those are.
func compareScores(t *testing.T, s Scrape, tree guestapi.Tree, one Container) (compared int) {
	t.Helper()
	where := cgroupOf(tree, bareID(one.ID))
	info, err := infoOf(s, one)
	if where == "" || err != nil {
		return 0
	}
	labels := []string{"namespace", info.Labels["namespace"], "pod", info.Labels["pod"], "container", info.Labels["container"]}
	for _, process := range tree.Processes {
		if process.Cgroup != where {
			continue
		}
		want := map[string]int{
			"slicewatch_container_oom_score_adj":          process.OOMScoreAdj,
			"slicewatch_container_oom_score_adj_expected": process.OOMScoreAdj,
		}
		if one.Pod == workloads.Resized {
			// The kubelet does not change the adjustment of a process that runs,
			// so after a resize the two are apart.
			want["slicewatch_container_oom_score_adj_expected"] = burstableAdj(workloads.ResizedMemoryRequest.Value(), tree)
		}
		for family, adj := range want {
			if got, err := s.One(family, labels...); err != nil || got != float64(adj) {
				t.Errorf("%s of %s/%s is %v (%v), want %d", family, one.Pod, one.Name, got, err, adj)
			}
		}
		compared++
	}
	return compared
}

// burstableAdj is the kubelet's rule for a container of a Burstable pod
// (pkg/kubelet/qos/policy.go), for requests that are neither tiny nor huge.
func burstableAdj(requestBytes int64, tree guestapi.Tree) int {
	return int(1000 - 1000*requestBytes/(tree.MemoryTotalKiB*1024))
}

// infoOf finds a container's series by its id, whatever its names are yet.
func infoOf(s Scrape, c Container) (Series, error) {
	for _, one := range s.Named("slicewatch_container_info") {
		if bareID(one.Labels["container_id"]) == bareID(c.ID) {
			return one, nil
		}
	}
	return Series{}, fmt.Errorf("no series of container %s", c.ID)
}
