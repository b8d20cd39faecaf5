// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// death is a kill that was decided.
type death struct {
	node      *node
	at        time.Time
	processes int
	group     bool
	scope     snapshot.OOMScope
	limit     *snapshot.OOMLimit
	trigger   *snapshot.OOMTask
	victims   []snapshot.OOMVictim
	source    string
	// countOnly is set where many at once would drive all else out of the
	// records.
	countOnly bool
}

// count counts a kill, records it and says so in the log.
func (k *Keeper) count(d *death, now time.Time) {
	k.changed = true
	if s := k.seriesOf(d.node); s != nil {
		s.kills[d.scope]++
		s.processes[d.scope] += uint64(d.processes)
	}
	if d.countOnly {
		return
	}
	r := k.record(d, now)
	keep := min(len(k.records), k.cfg.Records-1)
	k.records = append([]*snapshot.OOMRecord{r}, k.records[:keep]...)
	k.recorded = true
	k.tell(r)
}

func (k *Keeper) record(d *death, now time.Time) *snapshot.OOMRecord {
	k.lastID++
	r := &snapshot.OOMRecord{
		ID: k.lastID, Time: d.when(now).UTC().Truncate(time.Millisecond), QoS: d.node.qos.String(), CgroupID: d.node.id,
		Scope: d.scope, Limit: d.limit, Trigger: d.trigger, Processes: d.processes, Victims: d.victims, Group: d.group, Source: d.source,
	}
	k.nameRecord(r, d.node)
	if k.cfg.Flight != nil && d.node.isContainer() {
		r.Before = k.cfg.Flight.Append(nil, d.node.id, r.Time.Add(-minuteBefore), r.Time.Add(time.Millisecond))
	}
	r.Message = message(r)
	return r
}

// nameRecord says in a record whose it is.
func (k *Keeper) nameRecord(r *snapshot.OOMRecord, n *node) {
	if n.series != nil {
		r.Namespace, r.Pod, r.Container = n.series.key.namespace, n.series.key.pod, n.series.key.container
	}
	if n.cgroup != nil {
		r.PodUID, r.ContainerID = n.cgroup.PodUID, n.cgroup.ContainerID
	}
	if id := n.identity; id != nil {
		r.WorkloadKind, r.Workload = id.WorkloadKind, id.Workload
		if n.series == nil {
			r.Namespace, r.Pod, r.Container = id.Namespace, id.Pod, id.Name
		}
	}
}

// renameRecords gives a container's records the names that came late.
func (k *Keeper) renameRecords(n *node) {
	if n.identity == nil || !n.identity.Known {
		return
	}
	var renamed []*snapshot.OOMRecord
	for i, r := range k.records {
		// The cgroup's id alone may be of an earlier boot.
		if r.Namespace != "" || r.CgroupID != n.id || r.ContainerID != n.cgroup.ContainerID {
			continue
		}
		if renamed == nil {
			renamed = append(renamed, k.records...)
		}
		named := *r
		k.nameRecord(&named, n)
		named.Message = message(&named)
		renamed[i] = &named
	}
	if renamed != nil {
		k.records, k.recorded = renamed, true
	}
}

// tell logs a kill.
func (k *Keeper) tell(r *snapshot.OOMRecord) {
	args := []any{
		"namespace", r.Namespace, "pod", r.Pod, "container", r.Container, "qos", r.QoS, "scope", r.Scope.String(), "processes", r.Processes,
	}
	if len(r.Victims) > 0 {
		v := &r.Victims[0]
		args = append(args, "pid", v.PID, "command", v.Command, "rss_bytes", v.AnonBytes+v.FileBytes+v.ShmemBytes, "oom_score_adj", v.OOMScoreAdj)
	}
	if r.Limit != nil {
		args = append(args, "limit_cgroup", r.Limit.Path)
		if r.Limit.Bytes.Known {
			args = append(args, "limit_bytes", r.Limit.Bytes.N)
		}
	}
	k.log.Warn("OOM kill", append(args, "why", r.Message, "at", r.Time, "told_by", r.Source)...)
}

// message says in words what happened.
func message(r *snapshot.OOMRecord) string {
	var b strings.Builder
	b.WriteString("The kernel killed ")
	switch {
	case r.Group && r.Processes > 1:
		fmt.Fprintf(&b, "all %d processes of the container", r.Processes)
	case len(r.Victims) > 0:
		v := &r.Victims[0]
		fmt.Fprintf(&b, "%s (pid %d, %s of memory of its own)", v.Command, v.PID, inBytes(int64(v.AnonBytes)))
		if r.Processes > 1 {
			fmt.Fprintf(&b, " and %d more", r.Processes-1)
		}
	case r.Processes > 1:
		fmt.Fprintf(&b, "%d processes", r.Processes)
	default:
		b.WriteString("a process")
	}
	b.WriteString(": ")
	limit := ""
	if r.Limit != nil && r.Limit.Bytes.Known {
		limit = " of " + inBytes(r.Limit.Bytes.N)
	}
	fmt.Fprintf(&b, reasons[r.Scope], limit)
	return b.String()
}

// reasons say what a scope means to somebody who wrote a pod's limits. Each
// takes the limit's size.
var reasons = [snapshot.NumOOMScopes]string{
	snapshot.ScopeUnknown:   "a memory limit%s was reached; which one could not be told.",
	snapshot.ScopeContainer: "the container reached its own memory limit%s.",
	snapshot.ScopePod: "the pod as a whole reached its memory limit%s. That is usually the sum of its containers' limits, and the pause process and " +
		"what the kernel keeps for the pod count as well, so that it is often reached just before a container's own limit is.",
	snapshot.ScopeQoS: "all pods of this QoS class together reached the limit%s of their class. This container need not have used too much itself.",
	snapshot.ScopeKubepods: "all pods of the node together reached the memory%s that the kubelet leaves to pods (node allocatable). " +
		"This container need not have used too much itself.",
	snapshot.ScopeNode: "the node ran out of memory%s, and this was the process that the kernel would kill first. No limit was reached.",
}

func inBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v == math.Trunc(v) || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// maxCommand bounds a process's name. The kernel's has 15 bytes.
const maxCommand = 64

// clean makes a process's name, which it may choose itself, fit to be shown.
func clean(command string) string {
	command = strings.ToValidUTF8(command[:min(len(command), maxCommand)], "?")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, command)
}
