// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package workloads runs on the test cluster one pod of each kind that the
// agent has to tell apart: every QoS class, every container type, every kind
// of owner, and those that are throttled, killed and resized.
//
// It owns their manifests and when they count as running. It must not know
// what the agent exports for them.
package workloads

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
	"github.com/slicewatch/slicewatch/test/kubernetes/nodeimage"
)

//go:embed manifests
var manifests embed.FS

// Namespace has all workloads but one, which must be in kube-system.
const Namespace = "e2e"

// Names of what checks look for in particular.
const (
	Throttled = "throttled"
	OOM       = "oom"
	High      = "high"
	Resized   = "resized"
	// StatefulPod is the name of every pod that the StatefulSet ever has.
	StatefulPod = "db-0"
	// PodLevel has resources of its own, apart from its container.
	PodLevel = "pod-level"
	// Ephemeral is the name of the ephemeral container in the pod BestEffort.
	Ephemeral  = "debugger"
	BestEffort = "besteffort"
	staticPod  = "static"
)

// What Resized is resized to.
var (
	ResizedCPURequest    = resource.MustParse("30m")
	ResizedMemoryRequest = resource.MustParse("48Mi")
)

// throttledCPULimit is what Throttled is resized to.
var throttledCPULimit = resource.MustParse("200m")

// startTime is how long all of them may take: an emulated node on a busy
// machine needs minutes.
const startTime = time.Hour

// together is how many pods are started at the same time. A node under
// emulation that has to start many can be so busy that none of them starts in
// time, and all are tried again.
const together = 3

// Run starts whatever does not run yet, a few at a time, and returns when all
// of it runs.
func Run(ctx context.Context, c *cluster.Cluster, log *slog.Logger) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := makeNamespace(ctx, c); err != nil {
		return fmt.Errorf("make namespace %s: %w", Namespace, err)
	}
	if err := placeStaticPod(ctx, c); err != nil {
		return fmt.Errorf("start the static pod: %w", err)
	}
	if err := start(ctx, c, log); err != nil {
		return err
	}
	log.Info("workloads are started", "seconds", time.Since(started).Seconds())
	if err := addEphemeral(ctx, c); err != nil {
		return fmt.Errorf("add an ephemeral container to pod %s: %w", BestEffort, err)
	}
	for pod, change := range resizes {
		if err := resize(ctx, c, pod, change); err != nil {
			return fmt.Errorf("resize pod %s: %w", pod, err)
		}
	}
	if err := await(ctx, c, log, Missing); err != nil {
		return err
	}
	log.Info("all workloads run", "seconds", time.Since(started).Seconds())
	return nil
}

// start applies the stored manifests in order, each as soon as there is room
// for one more that does not run yet.
func start(ctx context.Context, c *cluster.Cluster, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room := make(chan struct{}, together)
	var starting sync.WaitGroup
	defer starting.Wait()
	for _, name := range []string{"workloads.yaml", "qos.yaml", "containers.yaml", "stress.yaml"} {
		content, err := manifests.ReadFile("manifests/" + name)
		if err != nil {
			return err
		}
		for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
			room <- struct{}{}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			starting.Go(func() {
				if err := startOne(ctx, c, log, document); err != nil {
					cancel(fmt.Errorf("start what is in %s: %w", name, err))
				}
				<-room
			})
		}
	}
	starting.Wait()
	return context.Cause(ctx)
}

// startOne applies one object, unless its pod runs already and may have been
// resized, and returns when its pod runs.
func startOne(ctx context.Context, c *cluster.Cluster, log *slog.Logger, manifest []byte) error {
	var object metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(manifest, &object); err != nil {
		return err
	}
	found, err := c.API.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
	if err == nil && len(missingOf(object.Name, found.Items)) == 0 {
		return nil
	}
	if err := apply(ctx, c, manifest); err != nil {
		return fmt.Errorf("apply %s: %w", object.Name, err)
	}
	return await(ctx, c, log, func(pods []corev1.Pod) []string { return missingOf(object.Name, pods) })
}

func apply(ctx context.Context, c *cluster.Cluster, manifest []byte) error {
	return c.Kubectl(ctx, bytes.NewReader(manifest), io.Discard, "apply", "--server-side", "--filename=-")
}

// makeNamespace returns when the namespace has its service account, without
// which there are no pods.
func makeNamespace(ctx context.Context, c *cluster.Cluster) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	_, err := c.API.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	for {
		_, err := c.API.CoreV1().ServiceAccounts(Namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// placeStaticPod gives the kubelet the manifest by its directory.
func placeStaticPod(ctx context.Context, c *cluster.Cluster) error {
	content, err := manifests.ReadFile("manifests/static-pod.yaml")
	if err != nil {
		return err
	}
	// Written beside and renamed: the kubelet must not see half of it.
	_, err = c.Node.Run(ctx, bytes.NewReader(content), "sh", "-c",
		"cat > /etc/kubernetes/static-pod.yaml && mv /etc/kubernetes/static-pod.yaml /etc/kubernetes/manifests/")
	return err
}

func addEphemeral(ctx context.Context, c *cluster.Cluster) error {
	pods := c.API.CoreV1().Pods(Namespace)
	pod, err := pods.Get(ctx, BestEffort, metav1.GetOptions{})
	if err != nil || len(pod.Spec.EphemeralContainers) > 0 {
		return err
	}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: Ephemeral, Image: nodeimage.BusyboxImage, ImagePullPolicy: corev1.PullNever,
			Command: []string{"sleep", "100000"},
		},
	}}
	_, err = pods.UpdateEphemeralContainers(ctx, BestEffort, pod, metav1.UpdateOptions{})
	return err
}

// resizes are the changes to containers in pods that run.
var resizes = map[string]func(*corev1.ResourceRequirements){
	Resized: func(r *corev1.ResourceRequirements) {
		r.Requests[corev1.ResourceCPU], r.Requests[corev1.ResourceMemory] = ResizedCPURequest, ResizedMemoryRequest
	},
	Throttled: func(r *corev1.ResourceRequirements) { r.Limits[corev1.ResourceCPU] = throttledCPULimit },
}

func resize(ctx context.Context, c *cluster.Cluster, name string, change func(*corev1.ResourceRequirements)) error {
	pods := c.API.CoreV1().Pods(Namespace)
	pod, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	change(&pod.Spec.Containers[0].Resources)
	_, err = pods.UpdateResize(ctx, name, pod, metav1.UpdateOptions{})
	return err
}

// await returns when nothing is lacking among the node's pods.
func await(ctx context.Context, c *cluster.Cluster, log *slog.Logger, lacking func([]corev1.Pod) []string) error {
	told := time.Now()
	for {
		found, err := c.API.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
		var missing []string
		if err == nil {
			if missing = lacking(found.Items); len(missing) == 0 {
				return nil
			}
			err = fmt.Errorf("not running: %s", strings.Join(missing, ", "))
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			log.Info("waiting for workloads", "missing", strings.Join(missing, " "))
		}
		select {
		case <-ctx.Done():
			_ = c.Kubectl(context.WithoutCancel(ctx), nil, os.Stderr, "--namespace="+Namespace, "get", "events")
			return fmt.Errorf("wait for the workloads: %w: %w", ctx.Err(), err)
		case <-time.After(time.Second):
		}
	}
}
