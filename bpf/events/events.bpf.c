//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rare events of cgroups below kubepods, in one ring, so that what happened
 * first is read first: birth, death with the last counters, OOM kill. Numbers
 * are as the kernel keeps them (ns, pages).
 */
#include "read.h"
#include <bpf/bpf_tracing.h>
#include "records.h"

/* Set by user space before loading. */
volatile const u32 cpus;          /* possible ones */
volatile const u32 have_per_cpu;  /* per_cpu_offset() works */
volatile const u32 have_incidents; /* the programs around oom_kill_process() are attached */
volatile const u32 lifecycle_room; /* bytes of the ring that births and deaths may fill */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1); /* user space sets the size */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOURCES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* The cgroup id of kubepods, 0 while there is none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} kubepods SEC(".maps");

/* The call of oom_kill_process() that is under way. The kernel makes only one
 * at a time: its callers hold oom_lock. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct incident);
} incidents SEC(".maps");

/* memory.events.local oom_kill of a cgroup as of its last victim, for where
 * there are no incidents. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} last_kills SEC(".maps");

/* Processes whose kill was told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct victim);
	__type(value, u8);
} told SEC(".maps");

#define count(source, what)                                              \
	do {                                                             \
		u32 __source = source;                                   \
		struct tally *__tally = bpf_map_lookup_elem(&tallies, &__source); \
		if (__tally)                                             \
			__sync_fetch_and_add(&__tally->what, 1);         \
	} while (0)

static __always_inline u64 kubepods_id(void)
{
	u32 zero = 0;
	u64 *id = bpf_map_lookup_elem(&kubepods, &zero);

	return id ? *id : 0;
}

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *css = read(struct cgroup_subsys_state *, cgroup->self.parent);

	return css ? read(struct cgroup *, css->cgroup) : 0;
}

#define controller(holder, name)           \
	read(struct cgroup_subsys_state *, \
	     (holder)->subsys[bpf_core_enum_value(enum cgroup_subsys_id, name)])

/* memory_event(memory, memory_events, MEMCG_LOW): one of such an array. */
#define memory_event(memory, array, name)                                      \
	({                                                                     \
		u64 __count = 0;                                               \
		bpf_probe_read_kernel(&__count, sizeof(__count),               \
				      (char *)(memory) +                       \
					      bpf_core_field_offset((memory)->array) + \
					      sizeof(long) *                   \
						      bpf_core_enum_value(     \
							      enum memcg_memory_event, name)); \
		__count;                                                       \
	})

/* Where the per-cpu variables of a CPU are, as an offset to their addresses
 * without a CPU. No kernel symbol of that name is there for programs without
 * CAP_SYSLOG, so it is taken from a variable that BTF knows: user space puts
 * the BTF id of `runqueues` where PER_CPU_MARK is (see percpu.go). */
static __always_inline u64 per_cpu_offset(u32 cpu)
{
	if (!have_per_cpu)
		return 0;
	void *base;

	asm volatile("%0 = " PER_CPU_MARK " ll" : "=r"(base));
	void *there = bpf_per_cpu_ptr(base, cpu);

	return there ? (u64)there - (u64)base : 0;
}

#define MAX_CPUS 1024

/* --- birth and death --- */

/* Says whether a cgroup is a QoS slice, a pod or a container of one of the two
 * drivers: one to three levels below kubepods. */
static __always_inline bool is_ours(struct cgroup *cgroup)
{
	u64 top = kubepods_id();

	if (!top)
		return false;
	struct cgroup_root *root = read(struct cgroup_root *, cgroup->root);

	if (read(u32, root->hierarchy_id) != 0)
		return false; /* a v1 hierarchy has ids of its own */
#pragma unroll
	for (int i = 0; i < BELOW; i++) {
		cgroup = parent_of(cgroup);
		if (!cgroup)
			return false;
		if (cgroup_id(cgroup) == top)
			return true;
	}
	return false;
}

/* Births and deaths leave the rest of the ring to OOM kills. */
static __always_inline bool has_room(void)
{
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < lifecycle_room;
}

static __always_inline void take_name(u8 *to, struct cgroup *cgroup)
{
	struct kernfs_node *node = read(struct kernfs_node *, cgroup->kn);
	long length = bpf_probe_read_kernel_str(to, NAME_BYTES, read(const char *, node->name));

	if (length <= 0 || length == NAME_BYTES) {
		/* user space knows no cgroup by such a name */
		to[0] = 0;
		count(SOURCE_LIFECYCLE, failed);
	}
}

/* TP_PROTO(struct cgroup *cgrp, const char *path) */
SEC("raw_tp/cgroup_mkdir")
int cgroup_born(u64 *arguments)
{
	struct cgroup *cgroup = (void *)arguments[0];

	if (!is_ours(cgroup))
		return 0;
	struct birth *birth = has_room() ? bpf_ringbuf_reserve(&ring, sizeof(*birth), 0) : 0;

	if (!birth) {
		count(SOURCE_LIFECYCLE, lost);
		return 0;
	}
	birth->kind = KIND_BIRTH;
	birth->unused = 0;
	birth->time_ns = bpf_ktime_get_boot_ns();
	birth->id = cgroup_id(cgroup);
	birth->parent = cgroup_id(parent_of(cgroup));
	take_name(birth->name, cgroup);
	bpf_ringbuf_submit(birth, 0);
	return 0;
}

/* An offset that exists on some kernels only must not be loaded before it is
 * known that it does: this keeps the compiler from that. */
#define stay_here(value) asm volatile("" : "+r"(value))

/* What was folded at the last flush, and what each CPU has pending since. */
static __always_inline void take_cpu_time(struct death *to, struct cgroup *cgroup)
{
	to->usage_ns = read(u64, cgroup->bstat.cputime.sum_exec_runtime);
	to->user_ns = read(u64, cgroup->bstat.cputime.utime);
	to->system_ns = read(u64, cgroup->bstat.cputime.stime);
	to->shown_user_ns = read(u64, cgroup->prev_cputime.utime);
	to->shown_system_ns = read(u64, cgroup->prev_cputime.stime);
	if (!have_per_cpu)
		return;
	to->parts |= PART_PENDING;
	struct cgroup___base_cpu *newer = (void *)cgroup;
	u64 now, folded;

	if (bpf_core_field_exists(newer->rstat_base_cpu)) {
		struct cgroup_rstat_base_cpu *base = read(struct cgroup_rstat_base_cpu *, newer->rstat_base_cpu);

		now = (u64)&base->bstat;
		folded = (u64)&base->last_bstat;
		stay_here(now);
		stay_here(folded);
	} else {
		struct cgroup_rstat_cpu *base = read(struct cgroup_rstat_cpu *, cgroup->rstat_cpu);

		now = (u64)&base->bstat;
		folded = (u64)&base->last_bstat;
		stay_here(now);
		stay_here(folded);
	}
	for (u32 i = 0; i < MAX_CPUS; i++) {
		if (i >= cpus)
			break;
		u64 offset = per_cpu_offset(i);

		if (!offset)
			continue;
		struct cgroup_base_stat *these = (void *)(now + offset);
		struct cgroup_base_stat *those = (void *)(folded + offset);

		to->usage_ns += read(u64, these->cputime.sum_exec_runtime) - read(u64, those->cputime.sum_exec_runtime);
		to->user_ns += read(u64, these->cputime.utime) - read(u64, those->cputime.utime);
		to->system_ns += read(u64, these->cputime.stime) - read(u64, those->cputime.stime);
	}
}

/* The time that the scheduler gave to the group on each CPU, all groups below
 * it included. It is never behind, but knows no real-time tasks, and is gone
 * in 7.x. */
static __always_inline void take_group_time(struct death *to, struct task_group *group)
{
	if (!bpf_core_field_exists(group->se))
		return;
	to->parts |= PART_GROUP_TIME;
	struct sched_entity **entities = read(struct sched_entity **, group->se);

	for (u32 i = 0; i < MAX_CPUS; i++) {
		if (i >= cpus)
			break;
		struct sched_entity *entity = 0;

		bpf_probe_read_kernel(&entity, sizeof(entity), entities + i);
		if (entity)
			to->group_ns += read(u64, entity->sum_exec_runtime);
	}
}

static __always_inline void take_cpu(struct death *to, struct cgroup *cgroup)
{
	take_cpu_time(to, cgroup);
	struct task_group *group = (void *)controller(cgroup, cpu_cgrp_id);

	if (!group)
		return;
	take_group_time(to, group);
	if (!bpf_core_field_exists(group->cfs_bandwidth))
		return;
	to->parts |= PART_BANDWIDTH;
	to->periods = read(u32, group->cfs_bandwidth.nr_periods);
	to->throttled_periods = read(u32, group->cfs_bandwidth.nr_throttled);
	to->throttled_ns = read(u64, group->cfs_bandwidth.throttled_time);
	to->bursts = read(u32, group->cfs_bandwidth.nr_burst);
	to->burst_ns = read(u64, group->cfs_bandwidth.burst_time);
	to->quota_ns = read(u64, group->cfs_bandwidth.quota);
	to->period_ns = read(u64, group->cfs_bandwidth.period);
}

#define take_events(to, memory, array)                                       \
	do {                                                                 \
		(to)[0] = memory_event(memory, array, MEMCG_LOW);            \
		(to)[1] = memory_event(memory, array, MEMCG_HIGH);           \
		(to)[2] = memory_event(memory, array, MEMCG_MAX);            \
		(to)[3] = memory_event(memory, array, MEMCG_OOM);            \
		(to)[4] = memory_event(memory, array, MEMCG_OOM_KILL);       \
		(to)[5] = memory_event(memory, array, MEMCG_OOM_GROUP_KILL); \
	} while (0)

static __always_inline void take_memory(struct death *to, struct cgroup *cgroup)
{
	struct mem_cgroup *memory = (void *)controller(cgroup, memory_cgrp_id);

	if (!memory)
		return;
	to->parts |= PART_MEMORY;
	to->peak_pages = read(u64, memory->memory.watermark);
	to->max_pages = read(u64, memory->memory.max);
	to->oom_group = read(u8, memory->oom_group);
	take_events(to->memory_events, memory, memory_events);
	take_events(to->local_events, memory, memory_events_local);
	to->swap_events[0] = memory_event(memory, memory_events, MEMCG_SWAP_HIGH);
	to->swap_events[1] = memory_event(memory, memory_events, MEMCG_SWAP_MAX);
	to->swap_events[2] = memory_event(memory, memory_events, MEMCG_SWAP_FAIL);
}

/* TP_PROTO(struct cgroup *cgrp, const char *path). The directory has just
 * gone, the tasks long ago; the controllers' states go after this. */
SEC("raw_tp/cgroup_rmdir")
int cgroup_died(u64 *arguments)
{
	struct cgroup *cgroup = (void *)arguments[0];

	if (!is_ours(cgroup))
		return 0;
	struct death *death = has_room() ? bpf_ringbuf_reserve(&ring, sizeof(*death), 0) : 0;

	if (!death) {
		count(SOURCE_LIFECYCLE, lost);
		return 0;
	}
	__builtin_memset(death, 0, sizeof(*death));
	death->kind = KIND_DEATH;
	death->time_ns = bpf_ktime_get_boot_ns();
	death->id = cgroup_id(cgroup);
	death->parent = cgroup_id(parent_of(cgroup));
	take_name(death->name, cgroup);
	take_cpu(death, cgroup);
	take_memory(death, cgroup);
	bpf_ringbuf_submit(death, 0);
	return 0;
}

#include "oom.h"

/* Only so that BTF describes them: user space's types are made from it. */
const struct birth *birth_type __attribute__((unused));
const struct death *death_type __attribute__((unused));
const struct kill *kill_type __attribute__((unused));

/* The kernel's functions that are used here are for GPL programs alone. */
char licence[] SEC("license") = "Dual BSD/GPL";
