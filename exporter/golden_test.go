// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"testing"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

func TestGoldenExpositions(t *testing.T) {
	systemd, cgroupfs := recorded(t, fixturetree.SystemdSteady), recorded(t, fixturetree.CgroupfsSteady)
	golden(t, "systemd.default.prom", text(t, NewGatherer(storeOf(systemd), nil, Selection{})))
	golden(t, "cgroupfs.cadvisor.prom", text(t, NewCadvisorGatherer(storeOf(cgroupfs), Selection{})))
	golden(t, "everything.all.prom", text(t, NewGatherer(storeOf(fullSnapshot()), nil, Selection{DetailAll: true})))
	golden(t, "everything.cadvisor.prom", text(t, NewCadvisorGatherer(storeOf(fullSnapshot()), Selection{})))
}
