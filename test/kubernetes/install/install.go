// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package install puts the agent on a test cluster, from this source tree and
// the manifests of deploy/.
//
// It owns the agent's image and the overlay that names it. It must not know
// what the agent exports.
package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
)

// The agent's place on the cluster, as deploy/kustomize/base says.
const (
	Namespace = "slicewatch"
	DaemonSet = "slicewatch"
	// Image is the name in the overlay.
	Image = "slicewatch.test/slicewatch:e2e"
	// Port is where the agent serves HTTP on its pod's address.
	Port = 9779
)

// Agent installs the agent and returns when it is available on every node. An
// agent that is there already is replaced.
func Agent(ctx context.Context, c *cluster.Cluster, log *slog.Logger) error {
	started := time.Now()
	if err := importImage(ctx, c); err != nil {
		return fmt.Errorf("give the node the agent's image: %w", err)
	}
	log.Info("agent's image is imported", "seconds", time.Since(started).Seconds())
	overlay, err := cluster.Source(ctx, "test/kubernetes/install")
	if err != nil {
		return err
	}
	_, err = c.API.AppsV1().DaemonSets(Namespace).Get(ctx, DaemonSet, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for the agent: %w", err)
	}
	replace := err == nil
	target := "daemonset/" + DaemonSet
	if err := c.Kubectl(ctx, nil, os.Stderr, "apply", "--server-side",
		// A check that was interrupted leaves its own settings.
		"--force-conflicts", "--kustomize", filepath.Join(overlay, "overlay")); err != nil {
		return fmt.Errorf("apply the agent's manifests: %w", err)
	}
	if replace {
		// The image has the same name each time, which is no change to the API server.
		if err := c.Kubectl(ctx, nil, os.Stderr, "--namespace="+Namespace, "rollout", "restart", target); err != nil {
			return fmt.Errorf("restart the agent: %w", err)
		}
	}
	err = c.Kubectl(ctx, nil, os.Stderr, "--namespace="+Namespace, "rollout", "status", "--timeout=5m", target)
	if err != nil {
		var details bytes.Buffer
		_ = c.Kubectl(ctx, nil, &details, "--namespace="+Namespace, "describe", "pods")
		_ = c.Kubectl(ctx, nil, &details, "--namespace="+Namespace, "logs", "--tail=20", target)
		return errors.Join(fmt.Errorf("wait for the agent: %w", err), errors.New(details.String()))
	}
	log.Info("agent is available", "seconds", time.Since(started).Seconds())
	return nil
}

// importImage builds the agent, packs it alone into an image, and gives that
// to the node's containerd.
func importImage(ctx context.Context, c *cluster.Cluster) error {
	work, err := os.MkdirTemp("", "slicewatch-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "root")
	if err := cluster.BuildOwn(ctx, c.Arch, "cmd/slicewatch", filepath.Join(root, "slicewatch")); err != nil {
		return err
	}
	archive := filepath.Join(work, "image.tar")
	if err := c.Images().Pack(ctx, Image, "/slicewatch", root, archive); err != nil {
		return err
	}
	content, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = c.Node.Run(ctx, content, "ctr", "--namespace=k8s.io", "images", "import", "-")
	return err
}
