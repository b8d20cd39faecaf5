// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/alecthomas/kingpin/v2"

	"github.com/slicewatch/slicewatch/cmd/slicewatch/cluster"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// hintsOptions is what the command line of hints says.
type hintsOptions struct {
	agent  *client.Config
	query  client.HintQuery
	output string
	// withCluster is --cluster. Without a URL the agents of all nodes are asked then.
	withCluster, urlGiven bool
	cluster               cluster.Config
	agents                cluster.Agents
}

func hintsCommand(app *kingpin.Application) subcommand {
	clause := app.Command("hints", hintsHelp)
	o := &hintsOptions{agent: agentFlags(clause)}
	clause.GetFlag("url").IsSetByUser(&o.urlGiven)
	clause.Flag("namespace", "Only containers of this namespace.").Short('n').StringVar(&o.query.Namespace)
	clause.Flag("workload", "Only containers of the workload of this name.").StringVar(&o.query.Workload)
	clause.Flag("pod", "Only containers of the pod of this name.").StringVar(&o.query.Pod)
	clause.Flag("output", "Form of the output: table, wide, json, yaml, patch or vpa.").Short('o').Default(client.Table).EnumVar(&o.output, client.HintForms()...)
	clause.Flag("cluster", "Ask the agents of all nodes, and hold the hints against HPAs, VPAs, LimitRanges and ResourceQuotas, with your own rights.").BoolVar(&o.withCluster)
	clause.Flag("kubeconfig", "With --cluster: the kubeconfig; else $KUBECONFIG, else ~/.kube/config.").StringVar(&o.cluster.Kubeconfig)
	clause.Flag("context", "With --cluster: the context of the kubeconfig; else its current one.").StringVar(&o.cluster.Context)
	clause.Flag("agent-namespace", "With --cluster: the namespace that the agents are in; else any.").StringVar(&o.agents.Namespace)
	clause.Flag("agent-selector", "With --cluster: the labels of the agents' pods.").Default(cluster.Selector).StringVar(&o.agents.Selector)
	return subcommand{clause: clause, run: o.run}
}

func (o *hintsOptions) run(ctx context.Context, in invocation) int {
	if !o.withCluster {
		for name, value := range map[string]string{"kubeconfig": o.cluster.Kubeconfig, "context": o.cluster.Context, "agent-namespace": o.agents.Namespace} {
			if value != "" {
				fmt.Fprintf(in.stderr, "slicewatch: --%s says how --cluster reads: give that as well\n", name)
				return exitUsage
			}
		}
		list, err := o.askAgent(ctx)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteHints(in.stdout, list, o.output, conflicts.Findings{}))
	}
	list, found, err := o.askCluster(ctx, in)
	if err != nil {
		return report(in.stderr, err)
	}
	return report(in.stderr, client.WriteHints(in.stdout, list, o.output, found))
}

func (o *hintsOptions) askAgent(ctx context.Context) (*exporter.HintList, error) {
	asks, err := client.New(*o.agent)
	if err != nil {
		return nil, err
	}
	return asks.Hints(ctx, o.query)
}

// askCluster returns hints and what the cluster has against them. What could not
// be read is told, and done without.
func (o *hintsOptions) askCluster(ctx context.Context, in invocation) (*exporter.HintList, conflicts.Findings, error) {
	var none conflicts.Findings
	c, err := cluster.Connect(o.cluster)
	if err != nil {
		return nil, none, err
	}
	var list *exporter.HintList
	if o.urlGiven {
		list, err = o.askAgent(ctx)
	} else {
		var failed []error
		list, failed, err = c.Hints(ctx, o.agents, o.query)
		for _, one := range failed {
			fmt.Fprintf(in.stderr, "slicewatch: without its hints: %v\n", one)
		}
	}
	if err != nil {
		return nil, none, err
	}
	var namespaces []string
	for i := range list.Hints {
		if name := list.Hints[i].Namespace; !slices.Contains(namespaces, name) {
			namespaces = append(namespaces, name)
		}
	}
	objects, missing, err := c.Objects(ctx, namespaces)
	if err != nil {
		return nil, none, err
	}
	for _, one := range missing {
		fmt.Fprintf(in.stderr, "slicewatch: %s\n", one)
	}
	return list, conflicts.Judge(list, objects), nil
}
