// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/alecthomas/kingpin/v2"
)

func versionCommand(app *kingpin.Application) subcommand {
	return subcommand{
		clause: app.Command("version", versionHelp),
		run: func(_ context.Context, in invocation) int {
			_, err := fmt.Fprintln(in.stdout, in.build)
			return report(in.stderr, err)
		},
	}
}
