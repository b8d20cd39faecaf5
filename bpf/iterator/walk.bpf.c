//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One walk over all cgroups below a given one, with one record for each in an
 * array that user space has mapped: no text, and none of the 32 KiB that a
 * cgroup iterator's text output ends at. The numbers are as the kernel keeps
 * them (ns, pages); user space does the arithmetic of the control files.
 */
#include "unread.h"
#include "controllers.h"

enum part {
	PART_CPU = 1 << 0,       /* the cpu controller is on here */
	PART_BANDWIDTH = 1 << 1, /* and has quotas (CONFIG_CFS_BANDWIDTH) */
	PART_MEMORY = 1 << 2,
	PART_PIDS = 1 << 3,
	PART_PRESSURE = 1 << 4,
};

/* How many numbers of memory.stat are taken, by the index that user space
 * found: of memcg_vmstats.state and of memcg_vmstats.events. */
#define STATES 12
#define EVENTS 1

struct record {
	u64 id;
	u64 parts;

	u64 usage_ns, user_ns, system_ns; /* not adjusted */
	u64 shown_user_ns, shown_system_ns; /* what cpu.stat last showed */
	u64 shares;
	u64 periods, throttled_periods, throttled_ns, bursts, burst_ns;
	u64 quota_ns, period_ns, burst_limit_ns;

	u64 memory, peak, min, low, high, max, swap, swap_max; /* pages */
	u64 oom_group;
	u64 memory_events[6], local_events[6]; /* as memory.events prints them */
	u64 swap_events[3];
	s64 states[STATES];
	u64 events[EVENTS];

	u64 pressure_ns[6]; /* io some, full; memory some, full; cpu some, full */

	u64 pids, pids_max;
};

struct walk {
	u64 records;  /* that were written */
	u64 overflow; /* cgroups for which there was no room */
	u64 begun;    /* 1 from the first cgroup to the end of the walk */
	u64 unflushed; /* 1 where the kernel has no function for flushing */
	u64 unread;   /* reads that gave nothing: the records may not be true */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets the size */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* Set by user space before loading; -1: not taken. */
volatile const s32 state_index[STATES];
volatile const s32 event_index[EVENTS];

/* cgroup_rstat_flush() folds what the CPUs have pending, CPU time and memory
 * statistics alike. From 6.16 there is a tree for each controller. */
extern void cgroup_rstat_flush(struct cgroup *cgroup) __ksym __weak;
extern void css_rstat_flush(struct cgroup_subsys_state *css) __ksym __weak;
extern struct mem_cgroup *bpf_get_mem_cgroup(struct cgroup_subsys_state *css) __ksym __weak;
extern void bpf_put_mem_cgroup(struct mem_cgroup *memory) __ksym __weak;
extern void bpf_mem_cgroup_flush_stats(struct mem_cgroup *memory) __ksym __weak;

/* Folds the counts of the whole subtree: what each cpu.stat and memory.stat
 * would do for itself when it is read. */
static __always_inline void flush(struct cgroup *top, struct walk *walk)
{
	if (cgroup_rstat_flush) {
		cgroup_rstat_flush(top);
		return;
	}
	if (!css_rstat_flush) {
		walk->unflushed = 1;
		return;
	}
	css_rstat_flush(&top->self);
	if (bpf_get_mem_cgroup && bpf_put_mem_cgroup && bpf_mem_cgroup_flush_stats) {
		struct mem_cgroup *memory = bpf_get_mem_cgroup(&top->self);

		if (memory) {
			bpf_mem_cgroup_flush_stats(memory);
			bpf_put_mem_cgroup(memory);
		}
	}
}

static __always_inline void take_cpu(struct record *to, struct cgroup *cgroup)
{
	to->usage_ns = read(u64, cgroup->bstat.cputime.sum_exec_runtime);
	to->user_ns = read(u64, cgroup->bstat.cputime.utime);
	to->system_ns = read(u64, cgroup->bstat.cputime.stime);
	to->shown_user_ns = read(u64, cgroup->prev_cputime.utime);
	to->shown_system_ns = read(u64, cgroup->prev_cputime.stime);

	struct task_group *group = (void *)controller(cgroup, cpu_cgrp_id);

	if (!group)
		return;
	to->parts |= PART_CPU;
	to->shares = read(u64, group->shares);
	if (!bpf_core_field_exists(group->cfs_bandwidth))
		return;
	to->parts |= PART_BANDWIDTH;
	take_bandwidth(to, group);
	to->burst_limit_ns = read(u64, group->cfs_bandwidth.burst);
}

static __always_inline void take_statistics(struct record *to, struct mem_cgroup *memory)
{
	struct memcg_vmstats *statistics = read(struct memcg_vmstats *, memory->vmstats);
	char *states = (char *)statistics + bpf_core_field_offset(statistics->state);
	char *events = (char *)statistics + bpf_core_field_offset(statistics->events);

#pragma unroll
	for (int i = 0; i < STATES; i++) {
		s64 count = 0;

		if (state_index[i] >= 0 &&
		    bpf_probe_read_kernel(&count, sizeof(count), states + state_index[i] * sizeof(long)))
			read_failed();
		to->states[i] = count;
	}
#pragma unroll
	for (int i = 0; i < EVENTS; i++) {
		u64 count = 0;

		if (event_index[i] >= 0 &&
		    bpf_probe_read_kernel(&count, sizeof(count), events + event_index[i] * sizeof(long)))
			read_failed();
		to->events[i] = count;
	}
}

static __always_inline void take_memory(struct record *to, struct cgroup *cgroup)
{
	struct mem_cgroup *memory = (void *)controller(cgroup, memory_cgrp_id);

	if (!memory)
		return;
	to->parts |= PART_MEMORY;
	to->memory = read(u64, memory->memory.usage);
	to->peak = read(u64, memory->memory.watermark);
	to->min = read(u64, memory->memory.min);
	to->low = read(u64, memory->memory.low);
	to->high = read(u64, memory->memory.high);
	to->max = read(u64, memory->memory.max);
	to->swap = read(u64, memory->swap.usage);
	to->swap_max = read(u64, memory->swap.max);
	to->oom_group = read(u8, memory->oom_group);
	take_events(to->memory_events, memory, memory_events);
	take_events(to->local_events, memory, memory_events_local);
	take_swap_events(to->swap_events, memory);
	take_statistics(to, memory);
}

static __always_inline void take_pressure(struct record *to, struct cgroup *cgroup)
{
	struct psi_group *group = read(struct psi_group *, cgroup->psi);

	if (!group)
		return;
	/* Where it is switched off for this cgroup the files are hidden. */
	if (bpf_core_field_exists(group->enabled) && !read(u8, group->enabled))
		return;
	to->parts |= PART_PRESSURE;
	if (bpf_core_field_exists(group->total)) {
		if (bpf_core_read(to->pressure_ns, sizeof(to->pressure_ns), &group->total))
			read_failed();
		return;
	}
	struct psi_group___rows *rows = (void *)group;

	if (bpf_core_read(to->pressure_ns, sizeof(to->pressure_ns), &rows->total))
		read_failed();
}

static __always_inline void take_pids(struct record *to, struct cgroup *cgroup)
{
	struct pids_cgroup *pids = (void *)controller(cgroup, pids_cgrp_id);

	if (!pids)
		return;
	to->parts |= PART_PIDS;
	to->pids = read(u64, pids->counter);
	to->pids_max = read(u64, pids->limit);
}

/* Sleepable (.s), as flushing may sleep. */
SEC("iter.s/cgroup")
int walk_cgroups(struct bpf_iter__cgroup *context)
{
	struct cgroup *cgroup = context->cgroup;
	u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);

	if (!walk)
		return 0;
	if (!cgroup) { /* behind the last one */
		/* A removed cgroup is passed over: then there was none. */
		if (!walk->begun)
			walk->records = walk->overflow = 0;
		walk->unread = unread;
		walk->begun = 0;
		return 0;
	}
	if (context->meta->seq_num == 0) {
		walk->begun = 1;
		unread = 0;
		walk->records = 0;
		walk->overflow = 0;
		flush(cgroup, walk);
	}
	u32 at = walk->records;
	struct record *to = bpf_map_lookup_elem(&records, &at);

	if (!to) {
		walk->overflow++;
		return 0;
	}
	walk->records = at + 1;
	to->id = cgroup_id(cgroup);
	to->parts = 0;
	take_cpu(to, cgroup);
	take_memory(to, cgroup);
	take_pressure(to, cgroup);
	take_pids(to, cgroup);
	return 0;
}

/* The kernel's functions that are used here are for GPL programs alone. */
char licence[] SEC("license") = "Dual BSD/GPL";
