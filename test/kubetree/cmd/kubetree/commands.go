// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

// Ready is the line that says that everything is there.
const ready = "kubetree: ready"

func demo(ctx context.Context, f flags) error {
	return withTree(f, func(tree *kubetree.Tree) error {
		fmt.Print(cluster.Legend())
		for _, role := range cluster.Roles() {
			if _, err := tree.AddPod(role.Pod); err != nil {
				return err
			}
		}
		fmt.Println(ready)
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error {
			kubelet := &kubetree.Kubelet{Tree: tree, BackOff: cluster.BackOff, MaxBackOff: cluster.BackOff, Notify: tell}
			return kubelet.Run(ctx)
		})
		group.Go(func() error {
			visitors := &kubetree.Churn{Tree: tree, Next: cluster.Visitor, Every: cluster.VisitorEvery, Life: cluster.VisitorLife, Notify: tell}
			return visitors.Run(ctx)
		})
		return group.Wait()
	})
}

// tell prints one line about what happened.
func tell(h kubetree.Happening) {
	line := fmt.Sprintf("%s %s %s: %s", h.When.Format(time.TimeOnly), h.Pod.Spec.Name, h.Pod.UID[:8], h.Kind)
	if h.Exit != nil {
		line += fmt.Sprintf(" with code %d after %v", h.Exit.Code, h.When.Sub(h.Container.Started).Round(time.Second/10))
		if h.Exit.OOMKilled {
			line += ", OOM killed"
		}
		line += fmt.Sprintf("; next start in %v", h.Delay)
	}
	fmt.Println(line)
}

func frozen(ctx context.Context, f flags) error {
	return withTree(f, func(tree *kubetree.Tree) error {
		began := time.Now()
		progress := func(step string) { fmt.Printf("%v: %s\n", time.Since(began).Round(time.Second/10), step) }
		if err := tree.Frozen(ctx, f.pods, f.containers, progress); err != nil {
			return err
		}
		fmt.Printf("%s: %d pods of %d containers stand still, after %v\n", ready, f.pods, f.containers, time.Since(began).Round(time.Second))
		if f.watch == 0 {
			<-ctx.Done()
			return nil
		}
		return reportMoves(ctx, tree, f.watch)
	})
}

// reportMoves prints which values of the tree differ after a while, how many
// cgroups each moved in, and one example.
func reportMoves(ctx context.Context, tree *kubetree.Tree, after time.Duration) error {
	before, err := truth.ReadTree(tree.Kubepods())
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(after):
	}
	now, err := truth.ReadTree(tree.Kubepods())
	if err != nil {
		return err
	}
	counts, examples := map[string]int{}, map[string]truth.Change{}
	for _, change := range truth.Compare(before, now) {
		name := change.File + " " + change.Key
		counts[name]++
		examples[name] = change
	}
	fmt.Printf("%d cgroups, %d values moved within %v\n", len(now), len(counts), after)
	for name, n := range counts {
		e := examples[name]
		fmt.Printf("moved in %d cgroups: %s, as %s -> %s in %s\n", n, name, e.Before, e.After, e.Cgroup)
	}
	return nil
}

func churn(ctx context.Context, f flags) error {
	if f.every <= 0 || f.life <= 0 {
		return errors.New("--every and --life must be more than 0")
	}
	return withTree(f, func(tree *kubetree.Tree) error {
		fmt.Println(ready)
		churn := &kubetree.Churn{
			Tree: tree, Every: f.every, Life: f.life, Notify: tell,
			Next: func(n int) kubetree.PodSpec {
				return kubetree.PodSpec{
					Name: fmt.Sprintf("churn-%d", n),
					Containers: []kubetree.ContainerSpec{{
						Name:      "job",
						Resources: kubetree.Resources{CPURequestMilli: 20, MemoryRequestBytes: 8 << 20, MemoryLimitBytes: 32 << 20},
						Work:      work.Cmd("hold bytes=2Mi duty=0.01"),
					}},
				}
			},
		}
		return churn.Run(ctx)
	})
}
