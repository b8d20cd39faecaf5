// SPDX-License-Identifier: Apache-2.0

//go:build linux

package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// namespace has all pods.
const namespace = "fleet"

// writers is how many objects are written at the same time.
const writers = 16

func nodeName(node int) string { return fmt.Sprintf("node-%05d", node) }

func podName(node, pod int) string { return fmt.Sprintf("web-%03d-5d8c7f9b6d-%05d", pod, node) }

// populate makes nodes with pods that look as if a kubelet had started them.
func populate(ctx context.Context, api kubernetes.Interface, nodes, podsPerNode int) error {
	_, err := api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// Without a controller manager nobody else makes it, and no pod comes
	// without one.
	_, err = api.CoreV1().ServiceAccounts(namespace).Create(ctx,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return inParallel(nodes, func(node int) error {
		_, err := api.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(node)}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		for number := range podsPerNode {
			wanted := pod(node, number)
			created, err := api.CoreV1().Pods(namespace).Create(ctx, wanted, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			created.Status = status(wanted)
			if _, err := api.CoreV1().Pods(namespace).UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// inParallel calls do with 0 to count-1, some at the same time. It returns
// what went wrong first with each worker.
func inParallel(count int, do func(int) error) error {
	next := make(chan int)
	failed := make(chan error, writers)
	var working sync.WaitGroup
	for range writers {
		working.Go(func() {
			var failure error
			for i := range next {
				// The others' work is handed out all the same, so that nobody
				// waits for a worker that has given up.
				if failure == nil {
					failure = do(i)
				}
			}
			failed <- failure
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	working.Wait()
	close(failed)
	var all error
	for err := range failed {
		all = errors.Join(all, err)
	}
	return all
}

// pod is of the size that pods of real clusters have, some 6 KiB as JSON with
// its status.
func pod(node, number int) *corev1.Pod {
	owner, isController := fmt.Sprintf("web-%03d-5d8c7f9b6d", number), true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: podName(node, number), Namespace: namespace,
			Labels: map[string]string{
				"app.kubernetes.io/name": fmt.Sprintf("web-%03d", number), "app.kubernetes.io/instance": "production",
				"app.kubernetes.io/version": "1.42.0", "app.kubernetes.io/part-of": "shop", "pod-template-hash": "5d8c7f9b6d",
			},
			Annotations: map[string]string{
				"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "checksum/config": digest("config", number),
				"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner, UID: types.UID(digest(owner, 0)[:36]), Controller: &isController,
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:   nodeName(node),
			Containers: []corev1.Container{container("app", number, 8080), container("proxy", number, 8081)},
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}},
			}}},
			Tolerations: []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "web", Effect: corev1.TaintEffectNoSchedule}},
		},
	}
}

func container(name string, number int, port int32) corev1.Container {
	c := corev1.Container{
		Name: name, Image: fmt.Sprintf("registry.example.com/shop/%s-%03d:1.42.0", name, number), Args: []string{"--config=/etc/web/config.yaml", "--log.level=info"},
		Ports: []corev1.ContainerPort{{Name: "http-" + name, ContainerPort: port}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web", ReadOnly: true}},
	}
	for i := range 8 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SHOP_SETTING_%d", i), Value: fmt.Sprintf("http://service-%d.production.svc.cluster.local:8080", i)})
	}
	return c
}

func status(p *corev1.Pod) corev1.PodStatus {
	now := metav1.Now()
	s := corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBurstable, StartTime: &now, HostIP: "10.0.0.1", PodIP: "10.1.0.1"}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Ready: true, Image: c.Image, ImageID: c.Image + "@sha256:" + digest(c.Image, 0),
			ContainerID: "containerd://" + digest(p.Name+c.Name, 0), Resources: &c.Resources,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return s
}

// digest returns 64 hexadecimal digits.
func digest(text string, number int) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, text, number)))
}
