// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package controlplane runs etcd, the API server, the controller manager and
// the scheduler on this machine's loopback.
//
// It owns their flags, certificates and order of starting. It must not know
// how the node is made or what runs on it.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/components"
	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
	"github.com/slicewatch/slicewatch/test/kubernetes/process"
)

// ServiceAddress is the address of the kubernetes Service: the first of
// serviceRange. The node answers it in place of a service proxy.
const (
	ServiceAddress = "10.96.0.1"
	serviceRange   = "10.96.0.0/16"
)

// HostAddress is how the node reaches this machine's loopback.
const HostAddress = "10.0.2.2"

// Names of the processes, in the order of starting.
const (
	etcd       = "etcd"
	apiServer  = "kube-apiserver"
	controller = "kube-controller-manager"
	scheduler  = "kube-scheduler"
)

// readyTime is how long the API server may take to answer.
const readyTime = 3 * time.Minute

// Plane is a control plane. All fields are needed.
type Plane struct {
	// Directory holds certificates (pki), etcd's data and the egress settings.
	Directory string
	Programs  components.Paths
	Processes process.Group
	Ports     Ports
	// WithoutControllers leaves etcd and the API server alone, so that objects
	// stay as they are made.
	WithoutControllers bool
	Log                *slog.Logger
}

// Ports are on 127.0.0.1.
type Ports struct {
	API, Etcd, EtcdPeer int
	Controller          int
	Scheduler           int
	// Node is where the node takes connections to be passed on to its kubelet
	// and pods.
	Node int
}

// APIAddress is where the API server answers, as host:port.
func (p Plane) APIAddress() string { return fmt.Sprintf("127.0.0.1:%d", p.Ports.API) }

// Kubeconfig is the cluster administrator's.
func (p Plane) Kubeconfig() string { return filepath.Join(p.pki(), "admin.kubeconfig") }

func (p Plane) pki() string { return filepath.Join(p.Directory, "pki") }

// Start makes new certificates and an empty etcd, starts everything, and
// returns the authority that signs for the node when the API server is ready.
func (p Plane) Start(ctx context.Context, now time.Time) (*pki.Authority, error) {
	authority, files, err := p.credentials(now)
	if err != nil {
		return nil, fmt.Errorf("make the control plane's credentials: %w", err)
	}
	data := filepath.Join(p.Directory, "etcd-data")
	if err := errors.Join(os.RemoveAll(data), os.RemoveAll(p.AuditLog())); err != nil {
		return nil, err
	}
	started := time.Now()
	if err := p.start(etcd, p.etcdFlags(data)); err != nil {
		return nil, err
	}
	if err := p.StartAPIServer(); err != nil {
		return nil, err
	}
	if err := p.AwaitAPIServer(ctx); err != nil {
		return nil, err
	}
	if !p.WithoutControllers {
		if err := errors.Join(p.start(controller, p.controllerFlags(files)), p.start(scheduler, p.schedulerFlags(files))); err != nil {
			return nil, err
		}
	}
	p.Log.Info("control plane is ready", "seconds", time.Since(started).Seconds(), "kubeconfig", p.Kubeconfig())
	return authority, nil
}

// StartAPIServer starts the API server alone, with the certificates that are
// there: for tests that stop it for a while.
func (p Plane) StartAPIServer() error { return p.start(apiServer, p.apiServerFlags()) }

// StopAPIServer stops the API server alone.
func (p Plane) StopAPIServer(ctx context.Context) error { return p.Processes.Stop(ctx, apiServer) }

// APIServerPID returns the API server's process id.
func (p Plane) APIServerPID() (int, error) { return p.Processes.PID(apiServer) }

// Stop stops everything that Start started, last first.
func (p Plane) Stop(ctx context.Context) error {
	var errs []error
	for _, name := range []string{scheduler, controller, apiServer, etcd} {
		errs = append(errs, p.Processes.Stop(ctx, name))
	}
	return errors.Join(errs...)
}

func (p Plane) start(name string, flags []string) error {
	return p.Processes.Start(name, p.Programs[name], flags...)
}

// AwaitAPIServer returns when the API server says that it is ready. An error
// carries the end of its log.
func (p Plane) AwaitAPIServer(ctx context.Context) error {
	content, err := os.ReadFile(filepath.Join(p.pki(), "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content)
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		Timeout:   5 * time.Second,
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		answer, err := client.Get("https://" + p.APIAddress() + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		for _, name := range []string{etcd, apiServer} {
			if running, err := p.Processes.Running(name); err != nil || !running {
				return fmt.Errorf("%s ended: %w\n%s", name, errors.Join(err, errEnded), p.Processes.Tail(name))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w\n%s", ctx.Err(), p.Processes.Tail(apiServer))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

var errEnded = errors.New("see the end of its log")
