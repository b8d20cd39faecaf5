// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"io"
	"os"
	"os/exec"
)

// Kubectl runs the cluster's own kubectl as administrator; its complaints go
// to standard error. Its failure is an *exec.ExitError.
func (c *Cluster) Kubectl(ctx context.Context, input io.Reader, output io.Writer, arguments ...string) error {
	arguments = append([]string{"--kubeconfig=" + c.Plane.Kubeconfig()}, arguments...)
	command := exec.CommandContext(ctx, c.Plane.Programs["kubectl"], arguments...)
	command.Stdin, command.Stdout, command.Stderr = input, output, os.Stderr
	return command.Run()
}
