// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/hints"
	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/sampling"
	"github.com/slicewatch/slicewatch/agent/sizing"
)

// makeAdvisor makes what gives hints, with the histories that an earlier agent
// left.
func (a *Agent) makeAdvisor(cfg config.Config, settings sampling.Config) *sizing.Advisor {
	of := sizing.Config{
		Settings: hints.Settings{Policy: hints.Policy(cfg.Hints.Policy), CPUHeadroom: cfg.Hints.CPUHeadroom},
		Store:    history.NewStore(history.Config{}),
		Stats:    sizing.CgroupStats{Root: cfg.Paths.CgroupFS},
		Logger:   a.log,
	}
	if a.periods != nil && a.periods.Status().Up() {
		of.Periods = sizing.KernelPeriods{Periods: a.periods}
	}
	if settings.Journal == nil { // why not was said
		return sizing.New(of)
	}
	if journal := a.resumeOrWarn(cfg.Paths.State, "history", "the histories of use", of.Store.Load); journal != nil {
		of.Journal = journal
	}
	return sizing.New(of)
}
