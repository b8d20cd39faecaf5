// SPDX-License-Identifier: Apache-2.0

//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Server is the API server under test.
type Server interface {
	// Restart stops it and starts it again, and returns when it is ready.
	Restart(ctx context.Context) error
	// PID is its process id.
	PID() (int, error)
}

// Plan says what is measured.
type Plan struct {
	// Nodes is the number of nodes, PodsPerNode that of pods on each.
	Nodes, PodsPerNode int
	// Agents is how many agents start at once, each for a node of its own;
	// Unfiltered are as many that ask for every pod, one row for each number.
	Agents     int
	Unfiltered []int
	// Jitter is the longest time that an agent waits before it asks.
	Jitter time.Duration
	// Changes is how many pods change while the agents watch.
	Changes int
}

// Row is what one kind of agents cost.
type Row struct {
	Name   string
	Agents int
	// Half and All are the times until as many agents knew all their pods.
	Half, All time.Duration
	// Of the start: the API server's CPU time, what it wrote, its memory
	// before, at its highest, and with the agents watching.
	StartCPU                        time.Duration
	StartMiB                        float64
	BeforeMiB, PeakMiB, WatchingMiB int64
	Lists, Watches                  string
	OpenWatches, Rejected           float64
	// Of the changes: the API server's CPU time, the events that it sent, and
	// what it wrote.
	ChangeCPU time.Duration
	Events    float64
	ChangeMiB float64
}

// Run fills the cluster and measures, one kind of agents after another.
func Run(ctx context.Context, config *rest.Config, server Server, plan Plan, log *slog.Logger) ([]Row, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, err
	}
	api, err := kubernetes.NewForConfig(unlimited(config))
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := populate(ctx, api, plan.Nodes, plan.PodsPerNode); err != nil {
		return nil, fmt.Errorf("make nodes and pods: %w", err)
	}
	log.Info("pods are made", "nodes", plan.Nodes, "pods", plan.Nodes*plan.PodsPerNode, "seconds", time.Since(began).Seconds())
	directory, err := os.MkdirTemp("", "slicewatch-fleet-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	token, err := agentToken(ctx, api)
	if err != nil {
		return nil, err
	}
	kubeconfigs, err := writeKubeconfigs(directory, config, token, plan.Agents)
	if err != nil {
		return nil, err
	}
	r := runner{plan: plan, server: server, config: config, log: log}
	row, err := r.measure(ctx, "none", 0, func(ctx context.Context) (*agents, error) { return startFiltered(ctx, nil, 0), nil }, 0)
	rows := []Row{row}
	if err != nil {
		return rows, err
	}
	row, err = r.measure(ctx, "slicewatch", plan.Agents, func(ctx context.Context) (*agents, error) {
		return startFiltered(ctx, kubeconfigs, plan.Jitter), nil
	}, plan.PodsPerNode)
	rows = append(rows, row)
	for _, count := range plan.Unfiltered {
		if err != nil {
			break
		}
		row, err = r.measure(ctx, "every pod", count, func(ctx context.Context) (*agents, error) {
			return startUnfiltered(ctx, kubeconfigs[:min(count, len(kubeconfigs))])
		}, plan.Nodes*plan.PodsPerNode)
		rows = append(rows, row)
	}
	return rows, err
}

func unlimited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	return config
}

// agentToken makes the agent's service account and rights as deploy/ has them.
func agentToken(ctx context.Context, api kubernetes.Interface) (string, error) {
	const name = "slicewatch"
	meta := metav1.ObjectMeta{Name: name}
	_, err := api.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	_, err = api.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	_, err = api.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	answer, err := api.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make the agents' token: %w", err)
	}
	return answer.Status.Token, nil
}

type runner struct {
	plan   Plan
	server Server
	config *rest.Config
	log    *slog.Logger
}

// measure starts agents against an API server that has just started, waits
// until each knows wanted pods, and then changes pods.
func (r runner) measure(
	ctx context.Context, name string, count int, start func(context.Context) (*agents, error), wanted int,
) (row Row, err error) {
	row = Row{Name: name, Agents: count}
	if err := r.server.Restart(ctx); err != nil {
		return row, err
	}
	api, err := kubernetes.NewForConfig(unlimited(r.config))
	if err != nil {
		return row, err
	}
	pid, err := r.server.PID()
	if err != nil {
		return row, err
	}
	if err := settle(ctx, api, pid); err != nil {
		return row, err
	}
	before, err := measure(ctx, api, pid)
	if err != nil {
		return row, err
	}
	began := time.Now()
	running, err := start(ctx)
	if err != nil {
		return row, err
	}
	defer running.end()
	waiting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if row.Half, row.All, err = running.await(waiting, began, wanted); err != nil {
		return row, err
	}
	started, err := measure(ctx, api, pid)
	if err != nil {
		return row, err
	}
	if err := settle(ctx, api, pid); err != nil {
		return row, err
	}
	watching, err := measure(ctx, api, pid)
	if err != nil {
		return row, err
	}
	if err := r.change(ctx, api); err != nil {
		return row, fmt.Errorf("change pods: %w", err)
	}
	changed, err := measure(ctx, api, pid)
	if err != nil {
		return row, err
	}
	row.fill(before, started, watching, changed)
	r.log.Info("measured", "agents", name, "count", count, "seconds", row.All.Seconds(), "changes_seen", running.changes.Load(),
		"complaints", running.refused.Load())
	return row, nil
}

// startTime is how long the agents may take to start.
const startTime = 10 * time.Minute

const mebi = 1 << 20

func (row *Row) fill(before, started, watching, changed figures) {
	row.StartCPU = started.cpu - before.cpu
	row.StartMiB = float64(started.writtenBytes-before.writtenBytes) / mebi
	row.BeforeMiB, row.PeakMiB, row.WatchingMiB = before.residentMiB, started.peakMiB, watching.residentMiB
	row.Lists, row.Watches = spell(started.lists, before.lists), spell(started.watches, before.watches)
	// The API server's own components watch pods too.
	row.OpenWatches, row.Rejected = watching.openWatches-before.openWatches, started.rejected-before.rejected
	row.ChangeCPU = changed.cpu - watching.cpu
	row.Events = changed.events - watching.events
	row.ChangeMiB = float64(changed.writtenBytes-watching.writtenBytes) / mebi
}

// change patches as many pods as planned, spread over the nodes, as kubelets
// patch their status.
func (r runner) change(ctx context.Context, api kubernetes.Interface) error {
	var round atomic.Int64
	stamp := time.Now().UnixNano()
	err := inParallel(r.plan.Changes, func(i int) error {
		node, number := i%r.plan.Nodes, i/r.plan.Nodes%r.plan.PodsPerNode
		patch := fmt.Appendf(nil, `{"status":{"message":"change %d of %d"}}`, round.Add(1), stamp)
		_, err := api.CoreV1().Pods(namespace).Patch(ctx, podName(node, number), types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	})
	if err != nil {
		return err
	}
	// The last events are still on their way.
	select {
	case <-ctx.Done():
		return errors.Join(errors.New("wait for the last events"), ctx.Err())
	case <-time.After(2 * time.Second):
		return nil
	}
}
