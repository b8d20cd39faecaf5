// SPDX-License-Identifier: Apache-2.0

package main

const appHelp = `Per-pod CPU, memory, pressure and throttling from cgroup v2, for Prometheus.

Without a subcommand it runs the agent.`

const agentHelp = `Run the agent on this node.

Settings come from flags, the environment, a YAML file and defaults, in this order. The variable of a flag stands behind its help. In the file the dots of a name are levels:

  sample:
    interval: 500ms

The agent keeps to two threads of Go code at once unless GOMAXPROCS is set, and to nine tenths of its own memory limit unless GOMEMLIMIT is set.

Examples:
  slicewatch agent
  slicewatch agent --sample.interval=500ms --metrics.detail=all
  slicewatch agent --path.cgroupfs=/host/sys/fs/cgroup --path.procfs=/host/proc
  slicewatch agent --config.file=/etc/slicewatch.yaml --config.print`

const doctorHelp = `Tell what works on this node, what does not, why, and what to do.

Each check is ok, degraded (with what that costs) or failing (with the mend). The exit status is 1 if a check is failing, else 0. It reads the same variables and file as the agent, so that it looks at the same node.

Examples:
  slicewatch doctor
  slicewatch doctor --output=json
  kubectl exec -n monitoring daemonset/slicewatch -- slicewatch doctor`

const oomsHelp = `Show the OOM kills that a running agent knows of, newest first.

SCOPE is the level whose memory limit was hit. pod is usual: a pod's limit is the sum of its containers' limits, and the pause process counts as well. node is the node's own memory. LIMIT is that level's limit. MEMORY BEFORE is the container's memory in the minute before, as a share of that limit. The last column of -o wide says it in a sentence; json and yaml have everything.

Examples:
  slicewatch ooms
  slicewatch ooms -n shop --since=1h -o wide
  kubectl exec -n monitoring slicewatch-x7k2p -- slicewatch ooms -o yaml --limit=1`

const livesHelp = `Show the starts of containers that a running agent knows of, newest first: a container in a crash loop is a row of them.

Each has its own CPU time, its own peak of memory and its END: running; ended; oom_killed, when the kernel's OOM killer killed a process of it in its last 10 seconds; unseen, when it was only found gone, so that what it used last is missing. That is so of every end without eBPF. Of each container the last 16 ends are there, for an hour. -o wide adds when it ended, for how long its CPU limit held it, and its memory limit.

Examples:
  slicewatch lives
  slicewatch lives -n shop --pod=web-0
  slicewatch lives --since=10m -o json`

const hintsHelp = `Show what requests and limits of containers should be, and why.

Each cell of the table is what is set now and what it should be. WHY has the codes of the reasons; -o wide has their sentences, with the numbers that can be checked against the exported series. CONF is how sure the hint is, 0 to 1; ! marks containers that suffer until it is followed.

-o patch prints a strategic merge patch for each workload, -o vpa a VerticalPodAutoscaler that is held between the hinted request and limit. Nothing is changed in the cluster.

It asks one agent, on this machine or at --url. --cluster asks those of all nodes, through the API server (unless --url names one), and holds the hints against what else sets requests and limits, as *_hpa, *_vpa, *_limit_range and *_quota: a LimitRange caps amounts; a HorizontalPodAutoscaler whose target the request moves, a VerticalPodAutoscaler that sets the same amounts and a ResourceQuota that they do not fit are told. It reads with your own kubeconfig and rights; the agents never read any of that. A right that is missing is named, with the rule for it, and done without.

Examples:
  slicewatch hints
  slicewatch hints -n shop -o wide
  slicewatch hints --cluster --context=production -o wide
  slicewatch hints -n shop --workload=web -o patch > web.yaml && kubectl patch -n shop deployment web --patch-file=web.yaml`

const metricsHelp = `Print the reference of all metric families, in Markdown.

Example:
  slicewatch metrics > metrics.md`

const probeHelp = `Ask an agent over HTTP until it answers well, and print the beginning of the answer.

The exit status is 1 if it did not within the time. It is for images that have no other program.

Examples:
  slicewatch probe http://127.0.0.1:9779/-/ready
  slicewatch probe --token-file=/var/run/secrets/kubernetes.io/serviceaccount/token http://slicewatch.monitoring.svc:9779/metrics`

const versionHelp = `Print the version, the commit and the platform.`
