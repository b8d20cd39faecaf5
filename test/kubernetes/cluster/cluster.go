// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slicewatch/slicewatch/test/kubernetes/controlplane"
	"github.com/slicewatch/slicewatch/test/kubernetes/debian"
	"github.com/slicewatch/slicewatch/test/kubernetes/node"
	"github.com/slicewatch/slicewatch/test/kubernetes/nodeimage"
	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
	"github.com/slicewatch/slicewatch/test/kubernetes/process"
	"github.com/slicewatch/slicewatch/test/vm"
)

// readyTime is how long the node may take from power-on to Ready.
const readyTime = 10 * time.Minute

// answerTime is how long the API server of a running cluster may take.
const answerTime = 30 * time.Second

// Cluster is a running cluster.
type Cluster struct {
	// Plane can be stopped and started in parts.
	Plane controlplane.Plane
	// Node is the client of the node's helper.
	Node *node.Client
	// REST is the administrator's configuration for client-go.
	REST *rest.Config
	// API is a client with it.
	API kubernetes.Interface
	// Arch and Driver are as in Config.
	Arch, Driver string

	directory string
	machine   node.Node
	log       *slog.Logger
}

// Up builds what is missing and starts a cluster. It returns when the node, if
// there is to be one, is Ready. What was started before an error is left running, for a look at it;
// Down stops it.
func Up(ctx context.Context, config Config) (*Cluster, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	if _, err := Open(config); !errors.Is(err, ErrNone) {
		return nil, errors.Join(errors.New("there is a cluster already: stop it with `cluster down`"), err)
	}
	programs, err := Programs(ctx, config)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Directory, 0o755); err != nil {
		return nil, err
	}
	r := record{Ports: ports, Arch: config.Arch, Driver: config.Driver, Programs: programs}
	if err := r.write(config.Directory); err != nil {
		return nil, err
	}
	c := newCluster(config, r)
	if !config.WithoutNode {
		if err := c.prepareNode(ctx, config); err != nil {
			return nil, err
		}
	}
	authority, err := c.Plane.Start(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil || config.WithoutNode {
		return c, err
	}
	return c, c.startNode(ctx, authority)
}

// prepareNode fetches and makes what the node is started from.
func (c *Cluster) prepareNode(ctx context.Context, config Config) error {
	machine := vm.Config{Arch: config.Arch, Progress: os.Stderr}
	emulator, err := vm.Emulator(config.Arch)
	if err != nil {
		return err
	}
	if err := vm.Require(ctx, machine, emulator, vm.Tool{Program: "qemu-img", Package: "qemu-utils"},
		vm.Tool{Program: "mkfs.ext4", Package: "e2fsprogs"}, vm.Tool{Program: "cpio", Package: "cpio"}); err != nil {
		return err
	}
	kernel, err := vm.FetchKernel(ctx, machine)
	if err != nil {
		return err
	}
	images := c.Images()
	images.Cache = filepath.Join(config.Cache, "disks")
	images.Debian = debian.Archive{
		Arch: config.Arch, Suite: "trixie", Cache: filepath.Join(config.Cache, "debian"), Log: config.Log,
	}
	disk, err := images.Build(ctx)
	if err != nil {
		return err
	}
	c.machine.CPUs, c.machine.MemoryMiB = config.CPUs, config.MemoryMiB
	c.machine.Kernel, c.machine.Disk, c.machine.Guest = kernel, disk, c.Plane.Programs["guest"]
	return nil
}

// Images packs images for the node.
func (c *Cluster) Images() nodeimage.Image {
	return nodeimage.Image{Programs: c.Plane.Programs, Arch: c.Arch, Log: c.log}
}

// Open returns the running cluster, or ErrNone.
func Open(config Config) (*Cluster, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	r, err := readRecord(config.Directory)
	if err != nil {
		return nil, err
	}
	c := newCluster(config, r)
	return c, c.connect()
}

// CheckUsable returns an error, with the mend, if a running cluster is not what
// a Config asks for, where Arch or Driver is set, or if its node is not Ready,
// as after an Up that failed.
func (c *Cluster) CheckUsable(ctx context.Context, asked Config) error {
	for _, one := range []struct{ what, is, asked string }{
		{"architecture", c.Arch, asked.Arch},
		{"cgroup driver", c.Driver, asked.Driver},
	} {
		if one.asked != "" && one.asked != one.is {
			return fmt.Errorf("the running cluster has the %s %s, asked for is %s: stop it with `cluster down`, or do not ask", one.what, one.is, one.asked)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	found, err := c.API.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("ask the running cluster for its node (stop it with `cluster down` if it was left half started): %w", err)
	}
	if !nodeReady(found) {
		return fmt.Errorf("the running cluster's node %s is not Ready: wait for it (`cluster status`), or stop the cluster with `cluster down`", node.Name)
	}
	return nil
}

// Down stops the cluster, whatever there is of it, and forgets it. Logs stay
// until the next start.
func Down(ctx context.Context, config Config) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	r, err := readRecord(config.Directory)
	if err != nil {
		return err
	}
	c := newCluster(config, r)
	if err := errors.Join(c.machine.Stop(ctx), c.Plane.Stop(ctx)); err != nil {
		return err
	}
	return os.Remove(filepath.Join(config.Directory, recordName))
}

func newCluster(config Config, r record) *Cluster {
	processes := process.Group{Directory: filepath.Join(config.Directory, "processes")}
	c := &Cluster{Arch: r.Arch, Driver: r.Driver, directory: config.Directory, log: config.Log}
	c.Plane = controlplane.Plane{
		Directory: filepath.Join(config.Directory, "control-plane"), Programs: r.Programs,
		Processes: processes, Ports: r.Ports, WithoutControllers: config.WithoutControllers, Log: config.Log,
	}
	c.machine = node.Node{
		Directory: filepath.Join(config.Directory, "node"), Processes: processes, Port: r.Ports.Node, Log: config.Log,
		Arch: r.Arch, Systemd: r.Driver == DriverSystemd, PauseImage: nodeimage.PauseImage,
		APIServer:      fmt.Sprintf("%s:%d", controlplane.HostAddress, r.Ports.API),
		ServiceAddress: controlplane.ServiceAddress,
	}
	return c
}

// connect makes the clients from the credentials in the cluster's directory.
func (c *Cluster) connect() error {
	credentials := filepath.Join(c.directory, "control-plane", "pki")
	pair := pki.Pair{
		Certificate: filepath.Join(credentials, "kubelet-client.crt"), Key: filepath.Join(credentials, "kubelet-client.key"),
	}
	var err error
	if c.Node, err = node.NewClient(c.Plane.Ports.Node, pair, filepath.Join(credentials, "ca.crt")); err != nil {
		return err
	}
	if c.REST, err = clientcmd.BuildConfigFromFlags("", c.Plane.Kubeconfig()); err != nil {
		return fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	// A test may ask often; the API server is its own.
	c.REST.QPS, c.REST.Burst = 100, 200
	c.API, err = kubernetes.NewForConfig(c.REST)
	return err
}

func (c *Cluster) startNode(ctx context.Context, authority *pki.Authority) error {
	started := time.Now()
	if err := c.machine.Start(ctx, authority); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := c.machine.AwaitHelper(ctx, c.Node); err != nil {
		return err
	}
	c.log.Info("node answers", "seconds", time.Since(started).Seconds())
	if err := c.awaitNodeReady(ctx); err != nil {
		return err
	}
	c.log.Info("node is Ready", "seconds", time.Since(started).Seconds())
	return nil
}

func (c *Cluster) awaitNodeReady(ctx context.Context) error {
	for {
		found, err := c.API.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		if err == nil && nodeReady(found) {
			return nil
		}
		if gone := c.machine.CheckRunning(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			log, _ := c.Node.Shell(context.WithoutCancel(ctx), "tail -n 20 /var/log/kubelet.log")
			return fmt.Errorf("wait for the node to be Ready: %w (last: %w)\n%s", ctx.Err(), err, log)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func nodeReady(n *corev1.Node) bool {
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
