// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig makes a client certificate for user and groups and writes a
// kubeconfig that uses it for the API server at address (host:port). All
// credentials are in the file itself. It returns the file's path.
func (a *Authority) Kubeconfig(name, address, user string, groups ...string) (string, error) {
	pair, err := a.Client(name, user, groups...)
	if err != nil {
		return "", err
	}
	var contents [3][]byte
	for i, path := range []string{a.CertificateFile(), pair.Certificate, pair.Key} {
		if contents[i], err = os.ReadFile(path); err != nil {
			return "", err
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["cluster"] = &clientcmdapi.Cluster{
		Server: "https://" + address, CertificateAuthorityData: contents[0],
	}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: contents[1], ClientKeyData: contents[2],
	}
	config.Contexts["cluster"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: name}
	config.CurrentContext = "cluster"
	path := filepath.Join(a.directory, name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write kubeconfig %s: %w", path, err)
	}
	return path, nil
}
