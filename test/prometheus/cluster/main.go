// SPDX-License-Identifier: Apache-2.0

// Command cluster runs the demo's made-up cluster (test/kubetree/cluster) and
// speaks for its API server, so that an agent beside it has names, workloads
// and requests of its pods. It prints "ready" when all pods run. It owns what
// the API says of a pod. It must not know who asks.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
	"github.com/slicewatch/slicewatch/test/kubetree/work"
)

const (
	address  = "127.0.0.1:8001"
	nodeName = "node-1"
)

func main() {
	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	tree, err := kubetree.New("/sys/fs/cgroup", cluster.Spec())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	for _, role := range cluster.Roles() {
		if _, err := tree.AddPod(role.Pod); err != nil {
			return err
		}
	}
	api := newAPI()
	api.update(podsOf(tree))
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return fmt.Errorf("speak for the API server: %w", err)
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		kubelet := &kubetree.Kubelet{Tree: tree, BackOff: cluster.BackOff, MaxBackOff: cluster.BackOff}
		return kubelet.Run(ctx)
	})
	group.Go(func() error {
		visitors := &kubetree.Churn{Tree: tree, Next: cluster.Visitor, Every: cluster.VisitorEvery, Life: cluster.VisitorLife}
		return visitors.Run(ctx)
	})
	group.Go(func() error {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return errors.Join(server.Close())
			case <-tick.C:
				api.update(podsOf(tree))
			}
		}
	})
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	fmt.Println("ready")
	return group.Wait()
}
