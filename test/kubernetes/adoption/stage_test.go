// SPDX-License-Identifier: Apache-2.0

//go:build linux

package adoption

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
	"github.com/slicewatch/slicewatch/test/kubernetes/install"
	"github.com/slicewatch/slicewatch/test/kubernetes/nodeimage"
)

const (
	// release is the name of the Helm release, of its namespace and, as the
	// chart has it, of its objects.
	release    = "slicewatch"
	repository = "slicewatch.test/slicewatch"
	// monitoring is where Prometheus' service account is.
	monitoring = "monitoring"
	// troubled has the pods that alerts are about.
	troubled = "troubled"
	// patience is how long an emulated node may take for one thing.
	patience = 10 * time.Minute
)

// stage is a cluster with what an installation needs.
type stage struct {
	*cluster.Cluster
	root, helm, tag string
}

// open returns the running cluster without any agent on it. What the test makes
// there is gone after it.
func open(t *testing.T) *stage {
	t.Helper()
	s := &stage{helm: os.Getenv(HelmEnv)}
	if s.helm == "" {
		t.Skip("needs a cluster, Helm and Prometheus: run `make install-test`")
	}
	var err error
	if s.Cluster, err = cluster.Open(cluster.Config{Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Fatalf("needs Prometheus: apt-get install prometheus (%v)", err)
	}
	rules, err := cluster.Source(t.Context(), "deploy/rules")
	if err != nil {
		t.Fatal(err)
	}
	s.root = filepath.Dir(filepath.Dir(rules))
	tag, err := os.ReadFile(filepath.Join(s.root, "build", "slicewatch.tag"))
	if err != nil {
		t.Fatalf("needs the image: make image (%v)", err)
	}
	s.tag = strings.TrimSpace(string(tag))
	t.Cleanup(func() { s.leave(t) })
	s.clear(t)
	return s
}

// leave takes away what a test made, also one that failed, and waits for it: the
// next begins with the same names.
func (s *stage) leave(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it has ended with the test
	// Before its namespace: with that Helm's own notes would go, and what is in
	// no namespace would stay.
	if err := s.removeRelease(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Kubectl(ctx, nil, t.Output(), "delete", "namespace", troubled, monitoring, release,
		"--ignore-not-found", "--wait", "--timeout="+patience.String()); err != nil {
		t.Errorf("delete the test's namespaces: %v", err)
	}
}

// clear takes away agents that are there already.
func (s *stage) clear(t *testing.T) {
	t.Helper()
	overlay := filepath.Join(s.root, "test/kubernetes/install/overlay")
	s.kubectl(t, "delete", "--kustomize", overlay, "--ignore-not-found", "--wait", "--timeout=5m")
	if err := s.removeRelease(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.makeNamespace(t, release, map[string]string{"pod-security.kubernetes.io/enforce": "privileged"})
}

func (s *stage) kubectl(t *testing.T, arguments ...string) {
	t.Helper()
	if err := s.Kubectl(t.Context(), nil, t.Output(), arguments...); err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(arguments, " "), err)
	}
}

// makeNamespace returns when pods can be made in the namespace.
func (s *stage) makeNamespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	await(t, "namespace "+name, func(ctx context.Context) error {
		_, err := s.API.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		there, err := s.API.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if there.Status.Phase == corev1.NamespaceTerminating {
			return errors.New("one of that name is still being deleted")
		}
		_, err = s.API.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// importImage gives the node's containerd what `make image` wrote, under the
// name that the chart is told. The tag has a part of the digest in it: what is
// there already is the same.
func (s *stage) importImage(t *testing.T) {
	t.Helper()
	there, err := s.Node.Run(t.Context(), nil, "ctr", "--namespace=k8s.io", "images", "list", "--quiet", "name=="+repository+":"+s.tag)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(there) != "" {
		t.Logf("the image %s is there already", strings.TrimSpace(there))
		return
	}
	archive, err := os.Open(filepath.Join(s.root, "build", "slicewatch.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	started := time.Now()
	if _, err := s.Node.Run(t.Context(), archive, "ctr", "--namespace=k8s.io", "images", "import", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Node.Run(t.Context(), nil, "ctr", "--namespace=k8s.io", "images", "tag", "--force",
		"docker.io/library/slicewatch:"+s.tag, repository+":"+s.tag); err != nil {
		t.Fatal(err)
	}
	t.Logf("the image of both architectures was imported within %.0f s", time.Since(started).Seconds())
}

func (s *stage) runHelm(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, s.helm, arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.Plane.Kubeconfig())
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output), nil
}

// install installs the chart and returns the agent's pod once it is ready.
func (s *stage) install(t *testing.T, flags ...string) *corev1.Pod {
	t.Helper()
	started := time.Now()
	output, err := s.runHelm(t.Context(), append([]string{
		"install", release, filepath.Join(s.root, "deploy/helm/slicewatch"), "--namespace", release,
		"--set", "image.repository=" + repository, "--set", "image.tag=" + s.tag, "--set", "image.pullPolicy=Never",
		"--set", "resources.requests.cpu=10m",
	}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(output)
	var pod *corev1.Pod
	await(t, "the DaemonSet to be ready", func(ctx context.Context) error {
		set, err := s.API.AppsV1().DaemonSets(release).Get(ctx, release, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status := set.Status; status.DesiredNumberScheduled != 1 || status.NumberReady != 1 || status.ObservedGeneration != set.Generation {
			return fmt.Errorf("DaemonSet: %d of %d ready", status.NumberReady, status.DesiredNumberScheduled)
		}
		found, err := s.API.CoreV1().Pods(release).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=agent"})
		if err != nil {
			return err
		}
		if len(found.Items) != 1 {
			return fmt.Errorf("%d pods of the agent", len(found.Items))
		}
		pod = &found.Items[0]
		return nil
	})
	t.Logf("helm install to ready: %.0f s", time.Since(started).Seconds())
	return pod
}

func (s *stage) uninstall(t *testing.T) {
	t.Helper()
	if _, err := s.runHelm(t.Context(), "uninstall", release, "--namespace", release); err != nil {
		t.Fatal(err)
	}
}

// removeRelease uninstalls the release if there is one.
func (s *stage) removeRelease(ctx context.Context) error {
	output, err := s.runHelm(ctx, "list", "--all-namespaces", "--short")
	if err == nil && strings.Contains(output, release) {
		_, err = s.runHelm(ctx, "uninstall", release, "--namespace", release)
	}
	return err
}

// startTroubles starts a pod that is killed again and again and one that wants
// five times its CPU limit, and returns when both do.
func (s *stage) startTroubles(t *testing.T) {
	t.Helper()
	s.makeNamespace(t, troubled, nil)
	for name, pod := range map[string]corev1.Container{
		"killed": {
			Command:   []string{"sh", "-c", "sleep 20; exec dd if=/dev/zero of=/dev/null bs=64M count=1"},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}},
		},
		"throttled": {
			Command:   []string{"sh", "-c", "sleep 5; while :; do :; done"},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}},
		},
	} {
		pod.Name, pod.Image, pod.ImagePullPolicy = "main", nodeimage.BusyboxImage, corev1.PullNever
		pod.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
		s.runPod(t, name, pod)
	}
	// Not before it runs: a small limit holds up the runtime's own start in it.
	pods := s.API.CoreV1().Pods(troubled)
	pod, err := pods.Get(t.Context(), "throttled", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("200m")
	if _, err := pods.UpdateResize(t.Context(), pod.Name, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// runPod starts a pod of one container and returns when it runs.
func (s *stage) runPod(t *testing.T, name string, container corev1.Container) {
	t.Helper()
	grace, no := int64(1), false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			HostNetwork: true, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{container},
		},
	}
	pods := s.API.CoreV1().Pods(troubled)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	await(t, "pod "+name, func(ctx context.Context) error {
		now, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if statuses := now.Status.ContainerStatuses; len(statuses) == 0 || statuses[0].State.Running == nil && statuses[0].RestartCount == 0 {
			return errors.New("its container does not run")
		}
		return nil
	})
}

// await fails the test unless check returns nil within patience.
func await(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// agentPort is where the chart's agent serves.
const agentPort = install.Port
