// SPDX-License-Identifier: Apache-2.0

package oom

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slicewatch/slicewatch/agent/checkpoint/wire"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// What a keeper keeps in the state directory. The counts:
//
//	version, boot id, last record id
//	series*: class, named, namespace, pod, container, end, (scope, kills, processes)*
//	cgroup*: id, parent's id, level, class, flags, series' index + 1, local ooms, hits, seen, settled, told, debt, and
//	how many sweeps ago these last changed or the cgroup ended
//
// Numbers are varints, strings and lists have their length in front. The
// records are JSON, as in the API.
const (
	countsVersion  = 1
	recordsVersion = 1
)

// ErrState says that a state is not what a keeper writes.
var ErrState = errors.New("not a state of OOM kills")

// The flags of a saved cgroup.
const (
	savedApplication = 1 << iota
	savedSandbox
	savedGroup
	savedHasLocal
	savedHasGroups
	savedRead
	savedEnded
	savedUnsure
)

// maxAge is how many sweeps ago everything is long ago.
const maxAge = 1000

// ages are the sweeps that are saved as how long ago they are.
func (n *node) ages() [4]*uint64 { return [4]*uint64{&n.endedSweep, &n.debtAt, &n.toldAt, &n.hits.at} }

func (k *Keeper) write() {
	if k.changed && k.counts != nil {
		k.changed = !k.report(k.counts.Write(k.appendCounts))
	}
	if k.recorded && k.recordLog != nil {
		k.recorded = !k.report(k.recordLog.Write(k.appendRecords))
	}
}

// report logs the first failure in a row and says whether there was none. What
// could not be written is written the next time.
func (k *Keeper) report(err error) bool {
	if err != nil && !k.writeFailed {
		k.log.Warn("OOM kills could not be written down; a restart of the agent may count some of them anew", "error", err)
	}
	k.writeFailed = err != nil
	return err == nil
}

func (k *Keeper) appendCounts(buf []byte) []byte {
	buf = append(buf, countsVersion)
	buf = wire.AppendString(buf, k.cfg.BootID)
	buf = binary.AppendUvarint(buf, k.lastID)
	buf = binary.AppendUvarint(buf, uint64(len(k.book.order)))
	index := make(map[*series]int, len(k.book.order))
	for i, s := range k.book.order {
		index[s] = i + 1
		buf = s.append(buf)
	}
	buf = binary.AppendUvarint(buf, uint64(len(k.nodes)))
	for _, n := range k.nodes {
		buf = n.append(buf, index[n.series], k.sweep)
	}
	return buf
}

func (s *series) append(buf []byte) []byte {
	buf = append(buf, byte(s.key.qos))
	buf = wire.AppendBool(buf, s.key.named)
	buf = wire.AppendString(buf, s.key.namespace)
	buf = wire.AppendString(buf, s.key.pod)
	buf = wire.AppendString(buf, s.key.container)
	ended := int64(0)
	if !s.ended.IsZero() {
		ended = s.ended.UnixMilli()
	}
	buf = binary.AppendVarint(buf, ended)
	buf = append(buf, byte(snapshot.NumOOMScopes))
	for scope := range s.kills {
		buf = binary.AppendUvarint(buf, s.kills[scope])
		buf = binary.AppendUvarint(buf, s.processes[scope])
	}
	return buf
}

func (n *node) append(buf []byte, series int, sweep uint64) []byte {
	buf = binary.AppendUvarint(buf, n.id)
	parent := uint64(0)
	if n.parent != nil {
		parent = n.parent.id
	}
	buf = binary.AppendUvarint(buf, parent)
	buf = append(buf, byte(n.level), byte(n.qos), bit(n.role == application, savedApplication)|bit(n.role == sandbox, savedSandbox)|
		bit(n.group, savedGroup)|bit(n.hasLocal, savedHasLocal)|bit(n.hasGroups, savedHasGroups)|bit(n.read, savedRead)|
		bit(!n.ended.IsZero(), savedEnded)|bit(n.unsure, savedUnsure))
	buf = binary.AppendUvarint(buf, uint64(series))
	buf = binary.AppendVarint(buf, n.seenLocal)
	buf = binary.AppendVarint(buf, n.hits.n)
	for _, t := range []tally{n.seen, n.settled, n.told, n.debt} {
		buf = binary.AppendVarint(buf, t.kills)
		buf = binary.AppendVarint(buf, t.groups)
		buf = binary.AppendVarint(buf, t.ooms)
	}
	for _, at := range n.ages() {
		buf = binary.AppendUvarint(buf, min(sweep-*at, maxAge))
	}
	return buf
}

func bit(set bool, value byte) byte {
	if set {
		return value
	}
	return 0
}

// savedRecords is the form of the records.
type savedRecords struct {
	Version int                   `json:"version"`
	Records []*snapshot.OOMRecord `json:"records"`
}

func (k *Keeper) appendRecords(buf []byte) []byte {
	raw, err := json.Marshal(savedRecords{recordsVersion, k.records})
	if err != nil { // there is nothing in it that cannot be marshalled
		return buf
	}
	return append(buf, raw...)
}

// LoadRecords takes over the records that an earlier keeper left. On an error,
// which wraps ErrState, the keeper stays as it was.
func (k *Keeper) LoadRecords(state []byte) error {
	var saved savedRecords
	if err := json.Unmarshal(state, &saved); err != nil {
		return fmt.Errorf("%w: records: %w", ErrState, err)
	}
	if saved.Version != recordsVersion {
		return fmt.Errorf("%w: records of format %d, this version reads %d", ErrState, saved.Version, recordsVersion)
	}
	var records []*snapshot.OOMRecord
	for _, r := range saved.Records[:min(len(saved.Records), k.cfg.Records)] {
		if r == nil {
			return fmt.Errorf("%w: an empty record", ErrState)
		}
		records = append(records, r)
		k.lastID = max(k.lastID, r.ID)
	}
	k.records = records
	return nil
}

// LoadCounts takes over the counts that an earlier keeper left. On an error,
// which wraps ErrState, the keeper stays as it was.
func (k *Keeper) LoadCounts(state []byte, now time.Time) error {
	d := decoder{wire.Decode(state, ErrState)}
	if version := d.Byte(); d.Err() == nil && version != countsVersion {
		return fmt.Errorf("%w: format %d, this version reads %d", ErrState, version, countsVersion)
	}
	sameBoot := d.String() == k.cfg.BootID
	loaded := New(k.cfg)
	loaded.lastID = max(d.Uvarint(), k.lastID)
	for range d.Items() {
		d.series(loaded, now)
	}
	parents := map[*node]uint64{}
	for range d.Items() {
		d.node(loaded, parents)
	}
	for n, parent := range parents {
		if n.parent = loaded.nodes[parent]; n.parent != nil && n.parent.level >= n.level {
			d.Fail("a cgroup above itself")
		}
	}
	if err := d.End(); err != nil {
		return err
	}
	if !sameBoot { // then all cgroups are new
		loaded.nodes = map[uint64]*node{}
	}
	k.nodes, k.book, k.lastID, k.resumed = loaded.nodes, loaded.book, loaded.lastID, true
	for _, n := range k.nodes {
		// Kept as long as one that ends now.
		if !n.ended.IsZero() {
			n.ended = now
		}
	}
	return nil
}

type decoder struct{ *wire.Decoder }

func (d decoder) series(k *Keeper, now time.Time) {
	qos, named := cgroupfs.QoS(d.Byte()), d.Bool()
	of := key{qos: qos, named: named, namespace: d.String(), pod: d.String(), container: d.String()}
	ended := d.Varint()
	if d.Err() == nil && (qos >= cgroupfs.NumQoS || k.book.series[of] != nil) {
		d.Fail("the series %v, which cannot be or is there twice", of)
	}
	if d.Err() != nil {
		return
	}
	s := k.book.get(of)
	// Until a living container feeds it again, it ended when it did, or now.
	if s.ended = now; ended != 0 {
		s.ended = time.UnixMilli(ended)
	}
	for scope := range int(d.Byte()) {
		kills, processes := d.Uvarint(), d.Uvarint()
		at := min(scope, int(snapshot.NumOOMScopes)-1)
		s.kills[at] += kills
		s.processes[at] += processes
	}
}

func (d decoder) node(k *Keeper, parents map[*node]uint64) {
	n := &node{id: d.Uvarint()}
	parent := d.Uvarint()
	n.level, n.qos = cgroupfs.Level(d.Byte()), cgroupfs.QoS(d.Byte())
	flags := d.Byte()
	index := d.Uvarint()
	n.seenLocal, n.hits.n = d.Varint(), d.Varint()
	for _, t := range []*tally{&n.seen, &n.settled, &n.told, &n.debt} {
		t.kills, t.groups, t.ooms = d.Varint(), d.Varint(), d.Varint()
	}
	for _, at := range n.ages() {
		*at = firstSweep - 1 - min(d.Uvarint(), maxAge)
	}
	switch {
	case d.Err() != nil:
		return
	case n.level < cgroupfs.LevelKubepods || n.level > levelContainer || n.qos >= cgroupfs.NumQoS || k.nodes[n.id] != nil:
		d.Fail("the cgroup %d, which cannot be or is there twice", n.id)
		return
	case index > uint64(len(k.book.order)):
		d.Fail("series %d of %d", index, len(k.book.order))
		return
	}
	n.role = role(flags&(savedApplication|savedSandbox)) % 3
	n.group, n.hasLocal, n.hasGroups = flags&savedGroup != 0, flags&savedHasLocal != 0, flags&savedHasGroups != 0
	n.read, n.unsure = flags&savedRead != 0, flags&savedUnsure != 0
	if flags&savedEnded != 0 {
		n.ended = time.Unix(1, 0)
	}
	if index > 0 {
		n.series = k.book.order[index-1]
	}
	k.nodes[n.id] = n
	parents[n] = parent
}
