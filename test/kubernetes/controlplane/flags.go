// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
)

// credentials are the files that the flags name.
type credentials struct {
	controllerKubeconfig, schedulerKubeconfig string
}

// credentials makes everything below pki anew. The API server's own files have
// fixed names there, so that it can be started again without the authority.
func (p Plane) credentials(now time.Time) (*pki.Authority, credentials, error) {
	var files credentials
	if err := os.RemoveAll(p.pki()); err != nil {
		return nil, files, err
	}
	authority, err := pki.NewAuthority(p.pki(), now)
	if err != nil {
		return nil, files, err
	}
	if _, err := authority.ServiceAccountKey(); err != nil {
		return nil, files, err
	}
	_, err = authority.Server("kube-apiserver", "127.0.0.1", HostAddress, ServiceAddress,
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return nil, files, err
	}
	// The API server asks the kubelet for logs and the like as an administrator.
	if _, err := authority.Client("kubelet-client", "kube-apiserver", "system:masters"); err != nil {
		return nil, files, err
	}
	if _, err := authority.Kubeconfig("admin", p.APIAddress(), "admin", "system:masters"); err != nil {
		return nil, files, err
	}
	files.controllerKubeconfig, err = authority.Kubeconfig("controller-manager", p.APIAddress(), "system:kube-controller-manager")
	if err != nil {
		return nil, files, err
	}
	files.schedulerKubeconfig, err = authority.Kubeconfig("scheduler", p.APIAddress(), "system:kube-scheduler")
	if err != nil {
		return nil, files, err
	}
	return authority, files, errors.Join(p.writeEgress(), os.WriteFile(p.auditPolicyFile(), []byte(auditPolicy), 0o644))
}

// auditPolicy records what service accounts ask for, and nobody else: how much
// an agent asks of the API server cannot be told from the server's metrics,
// which do not know users.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`

func (p Plane) auditPolicyFile() string { return filepath.Join(p.Directory, "audit-policy.yaml") }

// AuditLog is where the API server records what service accounts outside
// kube-system asked for, one JSON object of audit.k8s.io/v1 per line.
func (p Plane) AuditLog() string { return filepath.Join(p.Directory, "audit.log") }

func (p Plane) egressFile() string { return filepath.Join(p.Directory, "egress.yaml") }

// writeEgress tells the API server to reach the node and its pods, whose
// addresses mean nothing on this machine, through the node's own proxy. With
// it kubectl logs, exec, attach and port-forward work.
func (p Plane) writeEgress() error {
	content := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: https://127.0.0.1:%d
        tlsConfig: {caBundle: %q, clientCert: %q, clientKey: %q}
`, p.Ports.Node, p.file("ca.crt"), p.file("kubelet-client.crt"), p.file("kubelet-client.key"))
	return os.WriteFile(p.egressFile(), []byte(content), 0o644)
}

func (p Plane) file(name string) string { return filepath.Join(p.pki(), name) }

func (p Plane) etcdURL() string { return fmt.Sprintf("http://127.0.0.1:%d", p.Ports.Etcd) }

func (p Plane) etcdFlags(data string) []string {
	peer := fmt.Sprintf("http://127.0.0.1:%d", p.Ports.EtcdPeer)
	return []string{
		"--data-dir=" + data,
		"--listen-client-urls=" + p.etcdURL(),
		"--advertise-client-urls=" + p.etcdURL(),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		// The data need not survive this machine.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func (p Plane) apiServerFlags() []string {
	return []string{
		"--etcd-servers=" + p.etcdURL(),
		"--bind-address=127.0.0.1",
		fmt.Sprint("--secure-port=", p.Ports.API),
		"--advertise-address=" + HostAddress,
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--tls-cert-file=" + p.file("kube-apiserver.crt"),
		"--tls-private-key-file=" + p.file("kube-apiserver.key"),
		"--client-ca-file=" + p.file("ca.crt"),
		"--kubelet-client-certificate=" + p.file("kubelet-client.crt"),
		"--kubelet-client-key=" + p.file("kubelet-client.key"),
		"--audit-policy-file=" + p.auditPolicyFile(),
		"--audit-log-path=" + p.AuditLog(),
		"--egress-selector-config-file=" + p.egressFile(),
		// The host name means nothing to the helper that makes the connection.
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.file("service-account.key"),
		"--service-account-signing-key-file=" + p.file("service-account.key"),
	}
}

func (p Plane) controllerFlags(files credentials) []string {
	return []string{
		"--kubeconfig=" + files.controllerKubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprint("--secure-port=", p.Ports.Controller),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + p.file("service-account.key"),
		"--root-ca-file=" + p.file("ca.crt"),
		// An emulated node on a busy machine reports late.
		"--node-monitor-grace-period=120s",
	}
}

func (p Plane) schedulerFlags(files credentials) []string {
	return []string{
		"--kubeconfig=" + files.schedulerKubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprint("--secure-port=", p.Ports.Scheduler),
		"--leader-elect=false",
	}
}
