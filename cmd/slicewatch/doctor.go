// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/agent"
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/doctor"
)

func doctorCommand(app *kingpin.Application) subcommand {
	clause := app.Command("doctor", doctorHelp)
	flags := config.Register(clause,
		"path.cgroupfs", "path.procfs", "path.state", "cgroup.root", "cgroup.max-open-files", "bpf")
	sysfs := clause.Flag("path.sysfs", "Where the host's sys is mounted.").Default("/sys").String()
	output := clause.Flag("output", "Form of the output: table or json.").Short('o').Default("table").Enum("table", "json")
	return subcommand{clause: clause, run: func(_ context.Context, in invocation) int {
		settings, ok := loadSettings(in, flags)
		if !ok {
			return exitUsage
		}
		system, err := doctor.ThisSystem()
		if err != nil {
			return report(in.stderr, err)
		}
		results := doctor.Examine(doctor.Node{
			CgroupFS:     settings.Paths.CgroupFS,
			ProcFS:       settings.Paths.ProcFS,
			SysFS:        *sysfs,
			State:        settings.Paths.State,
			CgroupHint:   settings.Cgroup.Root,
			MaxOpenFiles: settings.Cgroup.MaxOpenFiles,
			Programs:     agent.Programs(settings),
			System:       system,
		})
		if *output == "json" {
			err = doctor.WriteJSON(in.stdout, results)
		} else {
			err = doctor.WriteTable(in.stdout, results, isTerminal(in.stdout) && config.WantsColor(in.environ))
		}
		if status := report(in.stderr, err); status != exitOK || doctor.Healthy(results) {
			return status
		}
		return exitFailed
	}}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
