// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// target is what a reason must name.
type target struct {
	host       string // URL of the API server
	kubeconfig string // empty: the pod's service account
}

// explain says what err, which a request to the API server ended in, means and
// what mends it.
func explain(err error, t target) string {
	var (
		unknownCA x509.UnknownAuthorityError
		wrongName x509.HostnameError
		invalid   x509.CertificateInvalidError
		dns       *net.DNSError
		status    apierrors.APIStatus
	)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the API server at %s forbids it: grant get, list, watch on pods in the core API group (apiGroups: [\"\"]) "+
			"to the agent by a ClusterRole and a ClusterRoleBinding (it says: %v)", t.host, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("the API server at %s does not accept the agent's credentials, which expired or belong to another cluster: %s",
			t.host, t.renew())
	case errors.As(err, &unknownCA):
		return fmt.Sprintf("the certificate of the API server at %s is signed by an unknown authority: %s", t.host, t.trust())
	case errors.As(err, &wrongName):
		return fmt.Sprintf("the certificate of the API server at %s is for another name: use an address that it is for (%v)", t.host, wrongName)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of the API server at %s is not valid: %v", t.host, invalid)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: the API server is down, or the address is wrong", t.host)
	case errors.As(err, &dns):
		return fmt.Sprintf("the name of the API server at %s cannot be resolved: %v", t.host, dns)
	case isTimeout(err):
		return fmt.Sprintf("the API server at %s does not answer: it is down, or a firewall or network policy is in the way", t.host)
	case errors.As(err, &status):
		return fmt.Sprintf("the API server at %s refuses: %v", t.host, err)
	}
	return fmt.Sprintf("the API server at %s cannot be reached, or is not a Kubernetes API server: %v", t.host, err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

func (t target) renew() string {
	if t.kubeconfig != "" {
		return fmt.Sprintf("renew them in %s, which is read again", t.kubeconfig)
	}
	return "see that the service account still exists and its token is mounted"
}

func (t target) trust() string {
	if t.kubeconfig != "" {
		return fmt.Sprintf("put the right certificate-authority into %s, which is read again", t.kubeconfig)
	}
	return "the ConfigMap kube-root-ca.crt, which is mounted as the service account's ca.crt, is not that of this cluster"
}

// contentError is a kubeconfig, or a service account's files, that could be
// read but not used. It hides what it wraps: a certificate file that does not
// exist must not pass for a kubeconfig that does not.
type contentError struct{ err error }

func (e contentError) Error() string { return e.err.Error() }

// explainConfig says why there is no way to reach the API server at all.
func explainConfig(err error, kubeconfig string) string {
	var content contentError
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return "not in a pod of a cluster and no kubeconfig given: set --kubeconfig, or --kubernetes=off to do without names from the API server"
	case kubeconfig == "" && errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("the pod has no service account token: set automountServiceAccountToken: true, or --kubernetes=off (%v)", err)
	case kubeconfig == "":
		return fmt.Sprintf("the pod's service account token or ca.crt cannot be used: %v", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("the kubeconfig %s does not exist: mount it or correct --kubeconfig", kubeconfig)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the kubeconfig %s may not be read by the agent: correct its owner or mode", kubeconfig)
	case errors.As(err, &content) && clientcmd.IsEmptyConfig(content.err):
		return fmt.Sprintf("the kubeconfig %s has no current context with a cluster and a user: set current-context", kubeconfig)
	}
	// client-go's messages begin with a label of their own.
	return fmt.Sprintf("the kubeconfig %s is not valid: %s", kubeconfig, strings.TrimPrefix(err.Error(), "invalid configuration: "))
}
