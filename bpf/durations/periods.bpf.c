//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What became of each period of the quota, for the few containers that user
 * space observes. sched_cfs_period_timer() runs at the end of every period in
 * which the group was active, before the quota is filled up and before those
 * that it held go on: what is left of it, and who is held, is there to be seen.
 */
#include "read.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct hrtimer___periods {
	u64 _softexpires;
} __attribute__((preserve_access_index));

struct list_head___periods {
	struct list_head___periods *next;
} __attribute__((preserve_access_index));

struct cfs_bandwidth___periods {
	u64 period;
	u64 quota;
	u64 runtime;
	u64 burst;
	struct hrtimer___periods period_timer;
	struct list_head___periods throttled_cfs_rq;
	int nr_periods;
	u64 throttled_time;
} __attribute__((preserve_access_index));

struct task_group___periods {
	struct cgroup_subsys_state css;
	struct cfs_bandwidth___periods cfs_bandwidth;
} __attribute__((preserve_access_index));

/* How many tasks of the group are queued on a CPU. Those that sleep and are only
 * not taken off yet count in h_nr_running where there is h_nr_delayed. */
struct cfs_rq___periods {
	struct list_head___periods throttled_list;
	u64 throttled_clock;
	u32 h_nr_running;
	u32 h_nr_delayed;
	u32 h_nr_runnable;
} __attribute__((preserve_access_index));

/* One period, when it ends. */
struct period {
	u64 cgroup;
	u64 end_ns; /* CLOCK_MONOTONIC */
	u64 length_ns;
	u64 quota_ns;
	u64 burst_ns;
	u64 left_ns; /* of the quota */
	/* throttled_usec, in ns, without what those held now will add. */
	u64 stall_ns;
	/* By how much later than on the first CPU it was held on the others, added. */
	u64 later_ns;
	u32 count;   /* nr_periods, without this one */
	u32 held;    /* the group is held */
	u32 cpus;    /* on how many, with something that waits there */
	u32 waiting; /* tasks there */
};

/* Makes the compiler describe the type, for user space. */
const struct period *described __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16); /* a second of 16 containers is a fifth of it */
} periods SEC(".maps");

/* The cgroups that are observed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u32);
} observed SEC(".maps");

volatile u64 lost; /* periods that the ring had no room for */

/* How many CPUs are looked at. On more the group is held by less than a quota's
 * slice each. */
#define MOST_CPUS 128

static __always_inline u32 waiting_on(struct cfs_rq___periods *queue)
{
	if (bpf_core_field_exists(queue->h_nr_runnable))
		return read(u32, queue->h_nr_runnable);
	u32 running = read(u32, queue->h_nr_running), delayed = 0;
	if (bpf_core_field_exists(queue->h_nr_delayed))
		delayed = read(u32, queue->h_nr_delayed);
	return running > delayed ? running - delayed : 0;
}

static __always_inline int end(u64 timer)
{
	u64 bandwidth_at = timer - bpf_core_field_offset(struct cfs_bandwidth___periods, period_timer);
	struct cfs_bandwidth___periods *bandwidth = (void *)bandwidth_at;
	struct task_group___periods *group = (void *)(bandwidth_at - bpf_core_field_offset(struct task_group___periods, cfs_bandwidth));
	u64 id = cgroup_id(read(struct cgroup *, group->css.cgroup));

	if (!bpf_map_lookup_elem(&observed, &id))
		return 0;
	struct period *period = bpf_ringbuf_reserve(&periods, sizeof(*period), 0);
	if (!period) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	period->cgroup = id;
	period->end_ns = bpf_ktime_get_ns();
	period->length_ns = read(u64, bandwidth->period);
	period->quota_ns = read(u64, bandwidth->quota);
	period->burst_ns = read(u64, bandwidth->burst);
	period->left_ns = read(u64, bandwidth->runtime);
	period->stall_ns = read(u64, bandwidth->throttled_time);
	period->count = read(u32, bandwidth->nr_periods);
	/* The verifier does not follow what is in memory: in registers each number
	 * of CPUs would be a state of its own, in each turn of the loop. */
	volatile u32 *cpus = &period->cpus, *waiting = &period->waiting;
	u64 first = 0, clocks = 0;

	*cpus = 0;
	*waiting = 0;
	struct list_head___periods *head = &bandwidth->throttled_cfs_rq;
	struct list_head___periods *at = read(struct list_head___periods *, head->next);
	period->held = at && at != head;
	for (int i = 0; i < MOST_CPUS && at && at != head; i++) {
		u64 queue_at = (u64)at - bpf_core_field_offset(struct cfs_rq___periods, throttled_list);
		struct cfs_rq___periods *queue = (void *)queue_at;
		u64 clock = read(u64, queue->throttled_clock);
		/* Since 6.6 it starts when something wants to run. */
		if (clock) {
			*cpus += 1;
			*waiting += waiting_on(queue);
			clocks += clock;
			if (clock - 1 < first - 1) /* 0 is none */
				first = clock;
		}
		at = read(struct list_head___periods *, at->next);
	}
	period->later_ns = clocks - *cpus * first;
	bpf_ringbuf_submit(period, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("fentry/sched_cfs_period_timer")
int BPF_PROG(fentry_period, u64 timer)
{
	return end(timer);
}

SEC("kprobe/sched_cfs_period_timer")
int BPF_KPROBE(kprobe_period, u64 timer)
{
	return end(timer);
}
