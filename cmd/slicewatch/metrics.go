// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/exporter"
)

func metricsCommand(app *kingpin.Application) subcommand {
	return subcommand{
		clause: app.Command("metrics", metricsHelp),
		run: func(_ context.Context, in invocation) int {
			return report(in.stderr, exporter.WriteReference(in.stdout))
		},
	}
}
