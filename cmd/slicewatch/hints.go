// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
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
	// clusterFlags are those that say how --cluster reads.
	clusterFlags []givenFlag
}

type givenFlag struct {
	name  string
	given bool
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
	o.clusterFlags = []givenFlag{{name: "agent-namespace"}, {name: "agent-selector"}, {name: "context"}, {name: "kubeconfig"}}
	for i := range o.clusterFlags {
		clause.GetFlag(o.clusterFlags[i].name).IsSetByUser(&o.clusterFlags[i].given)
	}
	return subcommand{clause: clause, run: o.run}
}

func (o *hintsOptions) run(ctx context.Context, in invocation) int {
	if !o.withCluster {
		for _, flag := range o.clusterFlags {
			if flag.given {
				fmt.Fprintf(in.stderr, "slicewatch: --%s says how --cluster reads: give that as well\n", flag.name)
				return exitUsage
			}
		}
		list, err := o.askAgent(ctx)
		if err != nil {
			return report(in.stderr, err)
		}
		return report(in.stderr, client.WriteHints(in.stdout, list, o.output, conflicts.Findings{}))
	}
	answer, err := o.askCluster(ctx, in)
	if err != nil {
		return report(in.stderr, err)
	}
	if err := client.WriteHints(in.stdout, answer.list, o.output, answer.found); err != nil {
		return report(in.stderr, err)
	}
	return report(in.stderr, withoutAnswers(answer.failed))
}

// withoutAnswers is an error where agents did not answer: of the pods of a workload
// the one that needs most decides, and it may be on one of their nodes.
func withoutAnswers(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("these hints are not of all nodes, where pods may need more; do not apply them before all agents answer:\n%w", errors.Join(failed...))
}

func (o *hintsOptions) askAgent(ctx context.Context) (*exporter.HintList, error) {
	asks, err := client.New(*o.agent)
	if err != nil {
		return nil, err
	}
	return asks.Hints(ctx, o.query)
}

// clusterAnswer is what was found out in a cluster.
type clusterAnswer struct {
	list  *exporter.HintList
	found conflicts.Findings
	// failed has an error for each agent that did not answer.
	failed []error
}

// askCluster returns hints and what the cluster has against them. What could not
// be read of it is told, and done without.
func (o *hintsOptions) askCluster(ctx context.Context, in invocation) (a clusterAnswer, err error) {
	c, err := cluster.Connect(o.cluster)
	if err != nil {
		return a, err
	}
	if o.urlGiven {
		a.list, err = o.askAgent(ctx)
	} else {
		a.list, a.failed, err = c.Hints(ctx, o.agents, o.query)
	}
	if err != nil {
		return a, err
	}
	var namespaces []string
	for i := range a.list.Hints {
		if name := a.list.Hints[i].Namespace; !slices.Contains(namespaces, name) {
			namespaces = append(namespaces, name)
		}
	}
	objects, missing, err := c.Objects(ctx, namespaces)
	if err != nil {
		return a, err
	}
	for _, one := range missing {
		fmt.Fprintf(in.stderr, "slicewatch: %s\n", one)
	}
	a.found = conflicts.Judge(a.list, objects)
	return a, nil
}
