// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write golden files and docs/metrics.md anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
