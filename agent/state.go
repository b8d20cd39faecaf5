// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"

	"github.com/slicewatch/slicewatch/agent/checkpoint"
	"github.com/slicewatch/slicewatch/agent/sampling"
)

// resume opens a journal and hands what an earlier agent left in it to load,
// unless it left nothing. What load refuses is set aside, and the journal goes
// on without it.
func (a *Agent) resume(dir, name string, load func(state []byte) error) (*checkpoint.Journal, error) {
	journal, state, err := checkpoint.OpenJournal(dir, name, a.log)
	if err != nil {
		return nil, err
	}
	if state != nil {
		if err := load(state); err != nil {
			if err := journal.Reject(err, a.log); err != nil {
				return nil, errors.Join(err, journal.Close())
			}
		}
	}
	a.journals = append(a.journals, journal)
	return journal, nil
}

// resumeOrWarn is for what is no reason not to run: it returns nil, and has
// logged what is lost.
func (a *Agent) resumeOrWarn(dir, name, what string, load func(state []byte) error) *checkpoint.Journal {
	journal, err := a.resume(dir, name, load)
	if err != nil {
		a.log.Warn("something will not survive a restart of the agent", "what", what, "reason", err)
	}
	return journal
}

// resumeLives goes on with the lives of containers that an earlier agent saw end.
func (a *Agent) resumeLives(dir string, settings *sampling.Config) {
	if settings.Journal == nil { // why not was said
		return
	}
	if journal := a.resumeOrWarn(dir, "lives", "lives of containers", settings.Lives.Load); journal != nil {
		settings.LivesJournal = journal
	}
}
