// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/exporter/client"
)

func oomsCommand(app *kingpin.Application) subcommand {
	clause := app.Command("ooms", oomsHelp)
	asked := recordFlags(clause, "kills")
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		asks, err := client.New(*asked.agent)
		if err != nil {
			return report(in.stderr, err)
		}
		list, err := asks.OOMs(ctx, asked.query)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteOOMs(in.stdout, list, asked.output))
	}}
}

// recordsAsked is which records of a running agent to show, and how.
type recordsAsked struct {
	agent  *client.Config
	query  client.RecordQuery
	output string
}

// recordFlags registers what says which records to show; what is their name.
func recordFlags(clause *kingpin.CmdClause, what string) *recordsAsked {
	asked := &recordsAsked{agent: agentFlags(clause)}
	clause.Flag("limit", "How many "+what+" to show at the most.").Default("100").IntVar(&asked.query.Limit)
	clause.Flag("namespace", "Only "+what+" in this namespace.").Short('n').StringVar(&asked.query.Namespace)
	clause.Flag("pod", "Only "+what+" in pods of this name.").StringVar(&asked.query.Pod)
	clause.Flag("since", "Only "+what+" since then: a duration such as 1h30m, or a time such as 2026-01-31T12:00:00Z.").StringVar(&asked.query.Since)
	clause.Flag("output", "Form of the output: table, wide, json or yaml.").Short('o').Default(client.Table).EnumVar(&asked.output, client.Forms()...)
	return asked
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
