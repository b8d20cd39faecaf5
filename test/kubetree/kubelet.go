// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The kubelet's own back-off (pkg/kubelet/kubelet.go).
const (
	defaultBackOff    = 10 * time.Second
	defaultMaxBackOff = 5 * time.Minute
)

// Happening is something that a Kubelet or a Churn did or found.
type Happening struct {
	When time.Time
	Kind HappeningKind
	Pod  *Pod
	// Container is nil where a whole pod is meant.
	Container *Container
	// Exit is set when a container ended.
	Exit *Exit
	// Delay is how long until the next start, for one that ended.
	Delay time.Duration
}

// HappeningKind says what happened.
type HappeningKind string

// The kinds of happenings.
const (
	PodAdded         HappeningKind = "pod added"
	PodRemoved       HappeningKind = "pod removed"
	ContainerEnded   HappeningKind = "container ended"
	ContainerStarted HappeningKind = "container started again"
	ChildKilled      HappeningKind = "OOM killed a child process"
)

// Kubelet starts containers again that ended, as their pods' restart policies
// say.
type Kubelet struct {
	Tree *Tree
	// BackOff is the wait before the second restart, doubled with each further
	// one up to MaxBackOff, over again once a container ran for twice that
	// long. The first restart does not wait. 0 is the kubelet's own 10 s and
	// 5 min.
	BackOff, MaxBackOff time.Duration
	// Notify is called from Run with whatever happens; it may be nil.
	Notify func(Happening)

	waiting map[string]*restart // by pod UID and container name
	kills   map[string]int64    // oom_kill so far, by container id
}

// restart is a container's history of crashes.
type restart struct {
	pod     *Pod
	spec    ContainerSpec
	pending bool
	due     time.Time
	delay   time.Duration // before the restart after the next end
}

// Run watches the tree's containers until ctx ends, which is no error.
func (k *Kubelet) Run(ctx context.Context) error {
	if k.BackOff == 0 {
		k.BackOff = defaultBackOff
	}
	if k.MaxBackOff == 0 {
		k.MaxBackOff = max(defaultMaxBackOff, k.BackOff)
	}
	k.waiting, k.kills = map[string]*restart{}, map[string]int64{}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := k.step(); err != nil {
			return err
		}
	}
}

func (k *Kubelet) step() error {
	for _, pod := range k.Tree.Pods() {
		for _, c := range k.Tree.Containers(pod) {
			if err := k.look(c); err != nil {
				return err
			}
		}
	}
	for key, r := range k.waiting {
		if !k.Tree.has(r.pod) {
			delete(k.waiting, key)
			continue
		}
		if !r.pending || time.Now().Before(r.due) {
			continue
		}
		r.pending = false
		c, err := k.Tree.StartContainer(r.pod, r.spec)
		if errors.Is(err, ErrPodGone) {
			continue
		}
		if err != nil {
			return err
		}
		k.notify(Happening{Kind: ContainerStarted, Pod: r.pod, Container: c})
	}
	return nil
}

// look handles one container that may have ended.
func (k *Kubelet) look(c *Container) error {
	exit, err := k.Tree.Exited(c)
	if err != nil {
		return err
	}
	if exit == nil {
		k.lookForKilledChild(c)
		return nil
	}
	delete(k.kills, c.ID)
	if err := k.Tree.RemoveContainer(c); err != nil {
		return err
	}
	ended := Happening{Kind: ContainerEnded, Pod: c.Pod, Container: c, Exit: exit}
	policy := c.Pod.Spec.Restart
	if policy == RestartAlways || policy == RestartOnFailure && exit.Code != 0 {
		ended.Delay = k.schedule(c, time.Now())
	}
	k.notify(ended)
	return nil
}

// schedule plans the next start and returns how far off it is.
func (k *Kubelet) schedule(c *Container, now time.Time) time.Duration {
	key := c.Pod.UID + "/" + c.Spec.Name
	r := k.waiting[key]
	if r == nil || now.Sub(c.Started) > 2*k.MaxBackOff {
		r = &restart{pod: c.Pod, spec: c.Spec}
		k.waiting[key] = r
	}
	wait := r.delay
	r.delay = min(max(2*r.delay, k.BackOff), k.MaxBackOff)
	r.pending, r.due = true, now.Add(wait)
	return wait
}

// lookForKilledChild notices OOM kills that the main process survives.
func (k *Kubelet) lookForKilledChild(c *Container) {
	if !c.Spec.SingleProcessOOMKill {
		return
	}
	kills, err := countOf(c.Path, "memory.events", "oom_kill")
	if err != nil || kills == k.kills[c.ID] {
		return
	}
	k.kills[c.ID] = kills
	// If that kill was of the main process, its end is reported instead.
	if exit, err := k.Tree.Exited(c); err == nil && exit == nil {
		k.notify(Happening{Kind: ChildKilled, Pod: c.Pod, Container: c})
	}
}

func (k *Kubelet) notify(h Happening) {
	if k.Notify != nil {
		h.When = time.Now()
		k.Notify(h)
	}
}

// Churn lets pods come and go.
type Churn struct {
	Tree *Tree
	// Next describes the pod that comes n-th, from 0. Names must differ.
	Next func(n int) PodSpec
	// Every is the time between two that come, Life how long each stays: so
	// there are about Life/Every at a time.
	Every, Life time.Duration
	// Notify is called from Run with whatever happens; it may be nil.
	Notify func(Happening)
}

// Run adds and removes pods until ctx ends, which is no error. It leaves the
// last ones where they are.
func (c *Churn) Run(ctx context.Context) error {
	if c.Every <= 0 || c.Life <= 0 {
		return fmt.Errorf("churn every %v with lives of %v: both must be more than 0", c.Every, c.Life)
	}
	type visitor struct {
		pod   *Pod
		leave time.Time
	}
	var visitors []visitor
	due := time.Now()
	for n := 0; ; {
		next := due
		leaving := len(visitors) > 0 && visitors[0].leave.Before(due)
		if leaving {
			next = visitors[0].leave
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next)):
		}
		if leaving {
			if err := c.Tree.RemovePod(visitors[0].pod); err != nil {
				return err
			}
			c.notify(PodRemoved, visitors[0].pod)
			visitors = visitors[1:]
			continue
		}
		pod, err := c.Tree.AddPod(c.Next(n))
		if err != nil {
			return err
		}
		c.notify(PodAdded, pod)
		visitors = append(visitors, visitor{pod, time.Now().Add(c.Life)})
		due = due.Add(c.Every)
		n++
	}
}

func (c *Churn) notify(kind HappeningKind, pod *Pod) {
	if c.Notify != nil {
		c.Notify(Happening{When: time.Now(), Kind: kind, Pod: pod})
	}
}
