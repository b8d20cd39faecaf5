// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slicewatch/slicewatch/agent/identity/containers"
	"github.com/slicewatch/slicewatch/agent/identity/pods"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// expireAll makes all that is gone long gone.
func expireAll(r *Resolver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.expire(time.Now().Add(2 * keepGone))
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		cfg  Config
		want string
	}{
		{Config{Kubernetes: "on", Containerd: Off}, `"on"`},
		{Config{Kubernetes: Off}, `""`},
		{Config{Kubernetes: Off, Containerd: Auto}, "--containerd.address"},
	}
	for _, tt := range tests {
		if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v): %v, want an error with %s", tt.cfg, err, tt.want)
		}
	}
}

// Neither source is there: the agent goes on, and each says why.
func TestDegraded(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	r, err := New(Config{
		NodeName: "node-a", Kubernetes: Auto, Containerd: Auto,
		ContainerdAddress: filepath.Join(t.TempDir(), "absent.sock"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Sources(); len(got) != 2 || got[0].Up || got[1].Up || got[0].Reason == "" {
		t.Errorf("sources before Run: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	want := map[string]string{sourceKubernetes: "--kubeconfig", sourceContainerd: "absent.sock"}
	for deadline := time.Now().Add(time.Minute); len(want) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, s := range r.Sources() {
			if part := want[s.Name]; part != "" && !s.Up && strings.Contains(s.Reason, part) {
				delete(want, s.Name)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no reason with %v: %+v", want, r.Sources())
	}
	if got := r.Container(containerCgroup("u", id("a"))); got.Known || got.Pod != "u" {
		t.Errorf("a container that nobody knows: %+v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOffIsNoSource(t *testing.T) {
	if got := resolver(t).Sources(); len(got) != 0 {
		t.Errorf("sources: %+v", got)
	}
}

func TestSourceState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolver(t)
		r.addSource(sourceContainerd)
		began := time.Now()
		step := func(up bool, reason string, want snapshot.Source) {
			t.Helper()
			time.Sleep(time.Minute)
			r.report(sourceContainerd, up, reason)
			want.Name = sourceContainerd
			if got := r.Sources()[0]; got != want {
				t.Errorf("after %v %q: %+v, want %+v", up, reason, got, want)
			}
		}
		step(false, "no socket", snapshot.Source{Reason: "no socket", Since: began})
		held := r.Sources()
		step(true, "", snapshot.Source{Up: true, Since: began.Add(2 * time.Minute)})
		step(true, "", snapshot.Source{Up: true, Since: began.Add(2 * time.Minute)})
		step(false, "gone", snapshot.Source{Reason: "gone", Since: began.Add(4 * time.Minute)})
		if held[0].Up || held[0].Reason != "no socket" {
			t.Errorf("a slice that was handed out was written to: %+v", held)
		}
	})
}

// Run drops the facts of what is gone, after a time in which they are wanted.
func TestFactsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolver(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		api, cri := podSink{r}, containerSink{r}
		static := apiPod("api-uid", "etcd", apiContainer("main", id("d")))
		static.CgroupUID = "hash"
		job := apiPod("job", "job")
		for _, p := range []pods.Pod{apiPod("stays", "a"), apiPod("goes", "b"), static, job} {
			api.SetPod(p)
		}
		cri.SetContainer(criContainer("goes", "b", "main", id("a")))
		api.DeletePod("goes")
		api.DeletePod("api-uid")
		cri.DeleteContainer(id("a"))
		job.Ended = true
		api.SetPod(job)

		size := func() string {
			r.mu.Lock()
			defer r.mu.Unlock()
			return fmt.Sprint(len(r.facts.pods), " ", len(r.facts.static), " ", len(r.facts.containers))
		}
		time.Sleep(keepGone - time.Second)
		api.SetPod(job) // a late update does not give it more time
		if got := size(); got != "4 1 1" {
			t.Errorf("facts within the time: %s, want 4 1 1", got)
		}
		time.Sleep(keepGone)
		if got := size(); got != "1 0 0" {
			t.Errorf("facts after the time: %s, want 1 0 0", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestBounds(t *testing.T) {
	r := resolver(t)
	r.addSource(sourceKubernetes)
	r.addSource(sourceContainerd)
	r.report(sourceKubernetes, true, "")
	r.report(sourceContainerd, true, "")
	api, cri := podSink{r}, containerSink{r}
	for i := range maxPods + 1 {
		api.SetPod(pods.Pod{UID: fmt.Sprint("u", i), CgroupUID: fmt.Sprint("u", i)})
	}
	for i := range maxContainers + 1 {
		cri.SetContainer(containers.Container{ID: fmt.Sprint("c", i)})
	}
	if len(r.facts.pods) != maxPods || len(r.facts.containers) != maxContainers {
		t.Errorf("%d pods, %d containers are kept", len(r.facts.pods), len(r.facts.containers))
	}
	for _, s := range r.Sources() {
		if !s.Up || !strings.Contains(s.Reason, "1 were left out") {
			t.Errorf("source %s: %+v, want it up and to say that one was left out", s.Name, s)
		}
	}
	// What is gone makes room at once.
	api.DeletePod("u0")
	api.SetPod(pods.Pod{UID: "new", CgroupUID: "new"})
	cri.DeleteContainer("c0")
	cri.SetContainer(containers.Container{ID: "new"})
	if r.facts.pods["new"] == nil || r.facts.containers["new"] == nil {
		t.Error("no room although something is gone")
	}
}

// The sampler asks while the sources speak.
func TestConcurrentUse(t *testing.T) {
	r := resolver(t)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 200 {
				uid := fmt.Sprint("u", i%20)
				switch worker {
				case 0:
					podSink{r}.SetPod(apiPod(uid, "p"+uid, apiContainer("main", "id-"+uid)))
					podSink{r}.DeletePod(fmt.Sprint("u", (i+7)%20))
				case 1:
					containerSink{r}.SetContainer(criContainer(uid, "p"+uid, "main", "id-"+uid))
					containerSink{r}.Connected()
				case 2:
					r.Forget(containerCgroup(uid, "id-"+uid))
					r.Forget(podCgroup(uid))
				default:
					if got := r.Container(containerCgroup(uid, "id-"+uid)); got.Known && got.Pod != "p"+uid {
						t.Errorf("container of %s: %+v", uid, got)
					}
					r.Sandbox(containerCgroup(uid, "id-"+uid))
					r.Pod(podCgroup(uid))
				}
			}
		})
	}
	all.Wait()
}
