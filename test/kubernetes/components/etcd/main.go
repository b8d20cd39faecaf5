// SPDX-License-Identifier: Apache-2.0

// Command etcd is the upstream etcd server, built from its published module,
// which has no installable main package under its own path.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
