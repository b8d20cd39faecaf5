// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// Flags records what the command line says about settings. Load judges it
// together with the other sources, so that every source obeys the same rules.
type Flags struct{ texts map[string][]string }

// FlagAdder is what kingpin's Application and CmdClause have in common here.
type FlagAdder interface {
	Flag(name, help string) *kingpin.FlagClause
}

// Register adds the settings' flags to a command: all of them, or those named.
// What it returns is filled when the command line is parsed.
func Register(command FlagAdder, only ...string) *Flags {
	flags := &Flags{texts: make(map[string][]string)}
	defaults := Default()
	for _, s := range settings(&defaults) {
		if len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		recorded := &recorder{flags: flags, name: s.name}
		_, recorded.list = s.value.(many)
		_, recorded.boolean = s.value.(boolean)
		clause := command.Flag(s.name, helpText(s))
		if shown := strings.Join(s.value.Texts(), ","); shown != "" {
			clause.PlaceHolder(shown)
		} else {
			clause.PlaceHolder(`""`)
		}
		clause.SetValue(recorded)
	}
	command.Flag(fileSetting, fmt.Sprintf("YAML file with settings; the environment and flags override it. ($%s)", envName(fileSetting))).
		PlaceHolder(`""`).SetValue(&recorder{flags: flags, name: fileSetting})
	return flags
}

func helpText(s setting) string { return fmt.Sprintf("%s ($%s)", s.help, envName(s.name)) }

// given returns the texts of a flag in the order of the command line, none if
// the flag was not there. kingpin refuses to repeat what is not a list.
func (f *Flags) given(name string) []string {
	if f == nil {
		return nil
	}
	return f.texts[name]
}

// recorder is the kingpin.Value of one setting.
type recorder struct {
	flags         *Flags
	name          string
	list, boolean bool
}

func (r *recorder) Set(text string) error {
	r.flags.texts[r.name] = append(r.flags.texts[r.name], text)
	return nil
}

func (r *recorder) String() string     { return strings.Join(r.flags.texts[r.name], ",") }
func (r *recorder) IsBoolFlag() bool   { return r.boolean }
func (r *recorder) IsCumulative() bool { return r.list }
