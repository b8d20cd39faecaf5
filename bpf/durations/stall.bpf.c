//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long tasks of a container were held for its memory bounds: slowed down
 * for memory.high (mem_cgroup_handle_over_high, sleep and reclaim), or
 * reclaiming because an allocation hit a limit. Tens of thousands in a second
 * are usual at a limit, so they are counted here, in cells of a histogram
 * whose bounds user space sets.
 */
#include "container.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct task_struct___stall {
	unsigned int memcg_nr_pages_over_high;
} __attribute__((preserve_access_index));

enum cause {
	NONE,
	HIGH,
	LIMIT,
};

/* A power of two, for the search. */
#define CELLS 256

/* bounds[i] is the greatest length, in ns, that cell i counts; the last cell
 * counts what is longer than all. */
const volatile u64 bounds[CELLS];

/* 0 where the kernel did not let us hook memory.high. The reclaim that is part
 * of it looks like that at a limit then. */
const volatile u32 high_hooked = 1;

struct stall_key {
	u64 container;
	u64 cause;
};

struct stall_sum {
	u64 length_ns;
	u32 cells[CELLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct stall_key);
	__type(value, struct stall_sum);
} stalls SEC(".maps");

/* What a task is held by now. */
struct held {
	u64 start;
	u64 container;
	u64 cause;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct held);
} tasks SEC(".maps");

volatile u64 counted; /* stalls in the map, for user space to see whether there is news */
volatile u64 lost;    /* stalls that no memory or room was found for, or no container */

static const struct stall_sum nothing;

static __always_inline void begin(struct task_struct *task, u64 cause)
{
	struct held *held = bpf_task_storage_get(&tasks, task, 0, 0);

	/* The reclaim for memory.high is part of that stall, not one of its own. */
	if (held && held->cause == HIGH && cause == LIMIT)
		return;
	struct css_set *set = read(struct css_set *, task->cgroups);
	u64 container = container_of_cgroup(read(struct cgroup *, set->dfl_cgrp));
	if (!container)
		return;
	if (container == TOO_DEEP) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	if (!held)
		held = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!held) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	held->start = bpf_ktime_get_ns();
	held->container = container;
	held->cause = cause;
}

static __always_inline u32 cell_of(u64 length)
{
	u32 cell = 0;

#pragma unroll
	for (u32 step = CELLS / 2; step; step /= 2)
		if (length > bounds[(cell + step - 1) & (CELLS - 1)])
			cell += step;
	return cell & (CELLS - 1);
}

static __always_inline void count(struct stall_key *key, u64 length)
{
	struct stall_sum *sum = bpf_map_lookup_elem(&stalls, key);

	if (!sum) {
		bpf_map_update_elem(&stalls, key, &nothing, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&stalls, key);
	}
	if (!sum) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	__sync_fetch_and_add(&sum->length_ns, length);
	__sync_fetch_and_add(&sum->cells[cell_of(length)], 1);
	__sync_fetch_and_add(&counted, 1);
}

static __always_inline int end(struct task_struct *task, u64 cause)
{
	struct held *held = bpf_task_storage_get(&tasks, task, 0, 0);

	if (!held || held->cause != cause)
		return 0;
	struct stall_key key = { .container = held->container, .cause = cause };
	u64 length = bpf_ktime_get_ns() - held->start;
	held->cause = NONE;
	count(&key, length);
	return 0;
}

static __always_inline int begin_high(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct___stall *stalled = (void *)task;

	/* Called at returns to user space for other reasons too. */
	if (read(unsigned int, stalled->memcg_nr_pages_over_high))
		begin(task, HIGH);
	return 0;
}

static __always_inline int end_high(void)
{
	return end(bpf_get_current_task_btf(), HIGH);
}

/* The function's name is the older one; user space replaces it where the kernel
 * has __mem_cgroup_handle_over_high. */
SEC("fentry/mem_cgroup_handle_over_high")
int BPF_PROG(fentry_high)
{
	return begin_high();
}

SEC("fexit/mem_cgroup_handle_over_high")
int BPF_PROG(fexit_high)
{
	return end_high();
}

SEC("kprobe/mem_cgroup_handle_over_high")
int BPF_KPROBE(kprobe_high)
{
	return begin_high();
}

SEC("kretprobe/mem_cgroup_handle_over_high")
int BPF_KPROBE(kretprobe_high)
{
	return end_high();
}

/* Pages; "max" is more on every page size. */
#define SOME_LIMIT (1ULL << 44)

/* How many cgroups upwards have_high looks: as far as a container is found. */
#define LEVELS (NESTED + 3)

/* Says whether the task is in a cgroup with memory.high, or below one. */
static __always_inline bool have_high(struct task_struct *task)
{
	struct css_set *set = read(struct css_set *, task->cgroups);
	struct cgroup *cgroup = read(struct cgroup *, set->dfl_cgrp);
	u32 memory = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);

	for (int i = 0; i < LEVELS && cgroup; i++) {
		struct mem_cgroup *group = 0;
		if (bpf_core_read(&group, sizeof(group), &cgroup->subsys[memory]))
			read_failed();
		if (group && read(unsigned long, group->memory.high) < SOME_LIMIT)
			return true;
		cgroup = parent_of(cgroup);
	}
	return false;
}

SEC("raw_tp/mm_vmscan_memcg_reclaim_begin")
int limit_begin(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!high_hooked && have_high(task))
		return 0;
	begin(task, LIMIT);
	return 0;
}

SEC("raw_tp/mm_vmscan_memcg_reclaim_end")
int limit_end(void *ctx)
{
	return end(bpf_get_current_task_btf(), LIMIT);
}
