// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/exporter/client"
)

func hintsCommand(app *kingpin.Application) subcommand {
	clause := app.Command("hints", hintsHelp)
	agent := agentFlags(clause)
	var query client.HintQuery
	clause.Flag("namespace", "Only containers of this namespace.").Short('n').StringVar(&query.Namespace)
	clause.Flag("workload", "Only containers of the workload of this name.").StringVar(&query.Workload)
	clause.Flag("pod", "Only containers of the pod of this name.").StringVar(&query.Pod)
	output := clause.Flag("output", "Form of the output: table, wide, json, yaml, patch or vpa.").Short('o').Default(client.Table).Enum(client.HintForms()...)
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		asks, err := client.New(*agent)
		if err != nil {
			return report(in.stderr, err)
		}
		list, err := asks.Hints(ctx, query)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteHints(in.stdout, list, *output))
	}}
}
