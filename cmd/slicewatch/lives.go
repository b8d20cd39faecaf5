// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/exporter/client"
)

func livesCommand(app *kingpin.Application) subcommand {
	clause := app.Command("lives", livesHelp)
	asked := recordFlags(clause, "lives")
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		asks, err := client.New(*asked.agent)
		if err != nil {
			return report(in.stderr, err)
		}
		list, err := asks.Lives(ctx, asked.query)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteLives(in.stdout, list, asked.output))
	}}
}
