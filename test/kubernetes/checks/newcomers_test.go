// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
)

// sighting is what was seen of a new container, times by the node's clock in
// seconds.
type sighting struct {
	id  string // without the runtime's name
	uid string // of its pod
	// process is when its process started, which runc does before it starts
	// what is to run in it.
	process float64
	// named is when the first sweep that was seen with it under its names
	// began, without when the one seen before that began.
	named, without float64
	// took is how long it was from the start of the scrape before to the end of
	// the one that showed the names.
	took float64
	// nameless says that it was ever exported without its names, podNameless
	// that its pod was.
	nameless, podNameless bool
}

// slack is by how much named may be later than the first sweep with the names:
// nobody looked in between. A sweep that is late leaves the next one out.
func (s sighting) slack() float64 { return 2*sweepInterval + s.took }

// watchNewcomers starts pods and scrapes until the container of each has its
// names.
func watchNewcomers(t *testing.T, c *cluster.Cluster, agent *Agent, prefix string) map[string]sighting {
	t.Helper()
	pods := c.API.CoreV1().Pods(metav1.NamespaceDefault)
	found := map[string]sighting{}
	for i := range newcomers {
		pod, err := pods.Create(t.Context(), newcomer(fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		now := int64(0)
		t.Cleanup(func() {
			_ = pods.Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
		found[pod.Name] = sighting{uid: string(pod.UID)}
	}
	nameless, before := map[string]bool{}, time.Now()
	eventually(t, func(ctx context.Context) error {
		began := time.Now()
		s, err := agent.Scrape(ctx)
		if err != nil {
			return err
		}
		took := time.Since(before).Seconds()
		before = began
		return sight(s, took, nameless, found)
	})
	return found
}

// sight takes over what one scrape shows, and returns an error as long as some
// pod has no named container. nameless are the containers that were ever seen
// without names, took is as in sighting.
func sight(s Scrape, took float64, nameless map[string]bool, found map[string]sighting) error {
	swept, err := s.One("slicewatch_snapshot_timestamp_seconds")
	if err != nil {
		return err
	}
	named := map[string]Series{}
	for _, info := range s.Named("slicewatch_container_info") {
		if info.Labels["namespace"] == "" {
			nameless[bareID(info.Labels["container_id"])] = true
			continue
		}
		named[info.Labels["uid"]] = info
	}
	exported := map[string]bool{}
	for _, one := range s.Named("slicewatch_pod_memory_usage_bytes") {
		exported[one.Labels["pod"]] = true
	}
	for pod, seen := range found {
		// By its UID: what ended is exported for a while, and a pod of an earlier
		// run had the same name.
		info, here := named[seen.uid]
		switch {
		case seen.named != 0:
		case here:
			seen.named, seen.took, seen.id = swept, took, bareID(info.Labels["container_id"])
			seen.nameless = nameless[seen.id]
			seen.process, _ = s.One("slicewatch_container_start_time_seconds",
				"namespace", info.Labels["namespace"], "pod", pod, "container", info.Labels["container"])
		default:
			seen.without, err = swept, fmt.Errorf("pod %s has no names yet", pod)
		}
		seen.podNameless = seen.podNameless || exported[seen.uid]
		found[pod] = seen
	}
	return err
}

// clocks are the moments at which others knew of new containers, in seconds by
// the node's clock.
type clocks struct {
	mu      sync.Mutex
	starts  map[string]float64 // by container id, as containerd says
	reports map[string]float64 // by pod, when the API server first said the container's id
	events  int                // of containerd, of any kind
	ended   error              // why they ended
}

// startClocks follows containerd's events and the API server until the test
// ends.
func startClocks(t *testing.T, c *cluster.Cluster) *clocks {
	t.Helper()
	all := &clocks{starts: map[string]float64{}, reports: map[string]float64{}}
	offset, uncertainty, err := c.Node.ClockOffset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the node's clock is %.3f s ahead of this machine's, give or take %.3f s", offset.Seconds(), uncertainty.Seconds())
	watch, err := c.API.CoreV1().Pods(metav1.NamespaceDefault).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	lines, output := io.Pipe()
	var running sync.WaitGroup
	running.Go(func() {
		_, err := c.Node.Stream(ctx, nil, output, "ctr", "events")
		output.CloseWithError(err)
	})
	running.Go(func() { all.followRuntime(lines) })
	running.Go(func() {
		for event := range watch.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				all.report(pod, time.Now().Add(offset))
			}
		}
	})
	t.Cleanup(func() {
		stop()
		watch.Stop()
		running.Wait()
	})
	return all
}

// runtimeEvent is a line of `ctr events` about the start of a task.
var runtimeEvent = regexp.MustCompile(`^(\S+ \S+ \+0000 UTC) \S+ /tasks/start (\{.*\})$`)

func (c *clocks) followRuntime(events io.Reader) {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c.mu.Lock()
		c.events++
		c.mu.Unlock()
		parts := runtimeEvent.FindStringSubmatch(lines.Text())
		if parts == nil {
			continue
		}
		var task struct {
			ID string `json:"container_id"`
		}
		at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", parts[1])
		if err != nil || json.Unmarshal([]byte(parts[2]), &task) != nil {
			continue
		}
		c.mu.Lock()
		c.starts[task.ID] = seconds(at)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = lines.Err()
}

func (c *clocks) report(pod *corev1.Pod, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].ContainerID != "" && c.reports[pod.Name] == 0 {
		c.reports[pod.Name] = seconds(at)
	}
}

func (c *clocks) started(t *testing.T, id string) float64 {
	return c.get(t, c.starts, id, "containerd")
}

func (c *clocks) told(t *testing.T, pod string) float64 {
	return c.get(t, c.reports, pod, "the API server")
}

// get waits: a container has its names before it is started, which takes an
// emulated node ten seconds.
func (c *clocks) get(t *testing.T, from map[string]float64, key, who string) float64 {
	t.Helper()
	for range 1200 {
		c.mu.Lock()
		at := from[key]
		c.mu.Unlock()
		if at != 0 {
			return at
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s did not say when %s started; %d events of containerd were seen, which ended with %v", who, key, c.events, c.ended)
	return 0
}

func seconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }

func TestSight(t *testing.T) {
	scrape := func(swept float64, series ...Series) Scrape {
		return Scrape{All: append(series, Series{Name: "slicewatch_snapshot_timestamp_seconds", Value: swept})}
	}
	info := func(namespace, pod, id string) Series {
		return Series{Name: "slicewatch_container_info", Labels: map[string]string{
			"namespace": namespace, "pod": pod, "uid": "u", "container": "main", "container_id": id,
		}}
	}
	nameless, found := map[string]bool{}, map[string]sighting{"a": {uid: "u"}}
	for _, one := range []Scrape{
		scrape(1), scrape(2, info("", "u", "1"), Series{Name: "slicewatch_pod_memory_usage_bytes", Labels: map[string]string{"pod": "u"}}),
	} {
		if err := sight(one, 1, nameless, found); err == nil {
			t.Error("sight is content without names")
		}
	}
	for _, swept := range []float64{3, 4} {
		if err := sight(scrape(swept, info("n", "a", "containerd://1")), swept-1, nameless, found); err != nil {
			t.Error(err)
		}
	}
	want := sighting{id: "1", uid: "u", named: 3, without: 2, took: 2, nameless: true, podNameless: true}
	if found["a"] != want {
		t.Errorf("sight = %+v, want %+v", found["a"], want)
	}
	c := clocks{starts: map[string]float64{}}
	pipe, lines := io.Pipe()
	go func() {
		fmt.Fprintln(lines, `2026-11-22 02:26:20.5 +0000 UTC k8s.io /tasks/create {"container_id":"1"}`)
		fmt.Fprintln(lines, `2026-11-22 02:26:21.25 +0000 UTC k8s.io /tasks/start {"container_id":"1","pid":7}`)
		lines.Close()
	}()
	c.followRuntime(pipe)
	if got := c.started(t, "1"); got != 1795314381.25 {
		t.Errorf("the start was at %f", got)
	}
}
