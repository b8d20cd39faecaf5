// SPDX-License-Identifier: Apache-2.0

package kubetree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// watch runs f until stop says that it has seen enough, and returns all that
// happened.
func watch(t *testing.T, run func(ctx context.Context, notify func(kubetree.Happening)) error, enough func(kubetree.Happening) bool) []kubetree.Happening {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all []kubetree.Happening
	seen := false
	err := run(ctx, func(h kubetree.Happening) {
		all = append(all, h)
		if enough(h) {
			seen = true
			cancel()
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !seen {
		t.Fatalf("did not happen within two minutes; only %+v", all)
	}
	return all
}

func TestKubeletRestartsWhatWasKilled(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	first := addOne(t, tree, "leaky", kubetree.ContainerSpec{
		Resources: kubetree.Resources{MemoryLimitBytes: 24 * mi, CPURequestMilli: 10},
		Work:      work.Cmd("grow step=4Mi every=10ms"),
	})
	all := watch(t, func(ctx context.Context, notify func(kubetree.Happening)) error {
		k := &kubetree.Kubelet{Tree: tree, BackOff: 200 * time.Millisecond, MaxBackOff: 10 * time.Minute, Notify: notify}
		return k.Run(ctx)
	}, func(h kubetree.Happening) bool {
		return h.Kind == kubetree.ContainerStarted && h.Container.Attempt == 3
	})
	var delays []time.Duration
	for _, h := range all {
		if h.Kind == kubetree.ContainerEnded {
			delays = append(delays, h.Delay)
			if !h.Exit.OOMKilled || h.Exit.Code != 137 {
				t.Errorf("ended with %+v, want an OOM kill", *h.Exit)
			}
		}
	}
	if got, want := fmt.Sprint(delays), "[0s 200ms 400ms]"; got != want {
		t.Errorf("waits before restarts %s, want %s", got, want)
	}
	if _, err := os.Stat(first.Path); !os.IsNotExist(err) {
		t.Errorf("the first incarnation's cgroup is still there: %v", err)
	}
}

func TestKubeletObeysRestartPolicy(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	c := addPod(t, tree, kubetree.PodSpec{Name: "once", Restart: kubetree.RestartOnFailure, Containers: []kubetree.ContainerSpec{
		{Name: "works", Work: work.Cmd("exit after=0")},
		{Name: "fails", Work: work.Cmd("exit after=0 code=1")},
	}})
	watch(t, func(ctx context.Context, notify func(kubetree.Happening)) error {
		return (&kubetree.Kubelet{Tree: tree, BackOff: time.Millisecond, MaxBackOff: time.Millisecond, Notify: notify}).Run(ctx)
	}, func(h kubetree.Happening) bool {
		if h.Kind == kubetree.ContainerStarted && h.Container.Spec.Name == "works" {
			t.Error("a container that worked was started again")
		}
		return h.Kind == kubetree.ContainerStarted && h.Container.Attempt == 2
	})
	if _, err := tree.StartContainer(c.Pod, c.Spec); err != nil {
		t.Error(err)
	}
	if err := tree.RemovePod(c.Pod); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.StartContainer(c.Pod, c.Spec); !errors.Is(err, kubetree.ErrPodGone) {
		t.Errorf("start in a removed pod: %v, want ErrPodGone", err)
	}
}

func TestKubeletTellsOfKilledChildren(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	addOne(t, tree, "shell", kubetree.ContainerSpec{
		Resources:            kubetree.Resources{MemoryLimitBytes: 24 * mi},
		SingleProcessOOMKill: true,
		Work:                 work.Cmd("child step=4Mi every=10ms pause=100ms"),
	})
	watch(t, func(ctx context.Context, notify func(kubetree.Happening)) error {
		return (&kubetree.Kubelet{Tree: tree, Notify: notify}).Run(ctx)
	}, func(h kubetree.Happening) bool { return h.Kind == kubetree.ChildKilled })
}

func TestChurnRemovesWhatItAdds(t *testing.T) {
	tree := treetest.New(t, kubetree.Spec{})
	removed := 0
	watch(t, func(ctx context.Context, notify func(kubetree.Happening)) error {
		return (&kubetree.Churn{
			Tree: tree, Every: 300 * time.Millisecond, Life: 500 * time.Millisecond, Notify: notify,
			Next: func(n int) kubetree.PodSpec {
				return kubetree.PodSpec{Name: fmt.Sprint("visitor-", n), Containers: []kubetree.ContainerSpec{{Name: "job"}}}
			},
		}).Run(ctx)
	}, func(h kubetree.Happening) bool {
		if h.Kind == kubetree.PodRemoved {
			removed++
			if _, err := os.Stat(h.Pod.Path); !os.IsNotExist(err) {
				t.Errorf("the cgroup of removed pod %s is still there: %v", h.Pod.Spec.Name, err)
			}
		}
		return removed == 3
	})
	if err := (&kubetree.Churn{Tree: tree}).Run(t.Context()); err == nil {
		t.Error("churn without times is accepted")
	}
}
