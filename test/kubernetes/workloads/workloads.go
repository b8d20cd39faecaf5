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
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// startTime is how long all of them may take: an emulated node on a busy
// machine needs minutes.
const startTime = time.Hour

// Run starts whatever does not run yet, one after the other, and returns when
// all of it runs. A node under emulation that has to start many pods at once
// can be so busy that none of them starts in time, and all are tried again.
func Run(ctx context.Context, c *cluster.Cluster, log *slog.Logger) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for _, name := range []string{"qos.yaml", "containers.yaml", "workloads.yaml", "stress.yaml"} {
		if err := runFile(ctx, c, log, name); err != nil {
			return err
		}
		log.Info("workloads run", "manifest", name, "seconds", time.Since(started).Seconds())
	}
	if err := placeStaticPod(ctx, c); err != nil {
		return fmt.Errorf("start the static pod: %w", err)
	}
	if err := addEphemeral(ctx, c); err != nil {
		return fmt.Errorf("add an ephemeral container to pod %s: %w", BestEffort, err)
	}
	if err := resize(ctx, c); err != nil {
		return fmt.Errorf("resize pod %s: %w", Resized, err)
	}
	if err := await(ctx, c, log, Missing); err != nil {
		return err
	}
	log.Info("all workloads run", "seconds", time.Since(started).Seconds())
	return nil
}

// runFile applies the objects of a stored manifest one by one, each when the
// one before runs.
func runFile(ctx context.Context, c *cluster.Cluster, log *slog.Logger, name string) error {
	content, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return err
	}
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		var object metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(document, &object); err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		if err := apply(ctx, c, document); err != nil {
			return fmt.Errorf("apply %s of %s: %w", object.Name, name, err)
		}
		lacking := func(pods []corev1.Pod) []string { return missingOf(object.Name, pods) }
		if err := await(ctx, c, log, lacking); err != nil {
			return err
		}
	}
	return nil
}

// apply tries more than once: a new namespace has its service account, without
// which there are no pods, only after a while.
func apply(ctx context.Context, c *cluster.Cluster, manifest []byte) error {
	for try := 1; ; try++ {
		err := c.Kubectl(ctx, bytes.NewReader(manifest), io.Discard, "apply", "--server-side", "--filename=-")
		if err == nil || try == applyTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
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

func resize(ctx context.Context, c *cluster.Cluster) error {
	pods := c.API.CoreV1().Pods(Namespace)
	pod, err := pods.Get(ctx, Resized, metav1.GetOptions{})
	if err != nil {
		return err
	}
	requests := pod.Spec.Containers[0].Resources.Requests
	requests[corev1.ResourceCPU] = ResizedCPURequest
	requests[corev1.ResourceMemory] = ResizedMemoryRequest
	_, err = pods.UpdateResize(ctx, Resized, pod, metav1.UpdateOptions{})
	return err
}

const applyTries = 5

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
