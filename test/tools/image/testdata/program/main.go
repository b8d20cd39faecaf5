// SPDX-License-Identifier: Apache-2.0

// Command program is something to pack.
package main

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() { fmt.Println(v1.Hash{}) }
