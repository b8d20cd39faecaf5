// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/exporter/client"
)

func oomsCommand(app *kingpin.Application) subcommand {
	clause := app.Command("ooms", oomsHelp)
	agent := agentFlags(clause)
	var query client.OOMQuery
	clause.Flag("limit", "How many kills to show at the most.").Default("100").IntVar(&query.Limit)
	clause.Flag("namespace", "Only kills in this namespace.").Short('n').StringVar(&query.Namespace)
	clause.Flag("pod", "Only kills in pods of this name.").StringVar(&query.Pod)
	clause.Flag("since", "Only kills since then: a duration such as 1h30m, or a time such as 2026-01-31T12:00:00Z.").StringVar(&query.Since)
	output := clause.Flag("output", "Form of the output: table, wide, json or yaml.").Short('o').Default(client.Table).Enum(client.Forms()...)
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		asks, err := client.New(*agent)
		if err != nil {
			return report(in.stderr, err)
		}
		list, err := asks.OOMs(ctx, query)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteOOMs(in.stdout, list, *output))
	}}
}

// agentFlags registers how to reach a running agent.
func agentFlags(clause *kingpin.CmdClause) *client.Config {
	var cfg client.Config
	clause.Flag("url", "Where the agent serves.").Default("http://localhost:9779").StringVar(&cfg.URL)
	clause.Flag("token-file", "File with a bearer token, for an agent with --web.auth=kubernetes.").StringVar(&cfg.TokenFile)
	clause.Flag("ca-file", "File with the certificate authorities of an agent that serves TLS.").StringVar(&cfg.CAFile)
	clause.Flag("insecure", "Take any certificate.").BoolVar(&cfg.Insecure)
	return &cfg
}
