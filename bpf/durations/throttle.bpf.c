//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long each CPU of a container was held because the quota was used up. The
 * kernel adds rq->clock - cfs_rq->throttled_clock to throttled_usec inside
 * unthrottle_cfs_rq(); the same two numbers are taken at its entry and at its
 * return, so that the sum of what is sent is throttled_usec, to the
 * nanosecond. The beginning is never hooked: since 6.18 throttle_cfs_rq() only
 * marks, and the clock starts when the tasks stop.
 */
#include "container.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct list_head___throttle {
	struct list_head___throttle *next;
} __attribute__((preserve_access_index));

/* The CPUs of the group that are held now. */
struct cfs_bandwidth___throttle {
	struct list_head___throttle throttled_cfs_rq;
} __attribute__((preserve_access_index));

struct task_group___throttle {
	struct cfs_bandwidth___throttle cfs_bandwidth;
} __attribute__((preserve_access_index));

/* One CPU's hold, by the scheduler's clock. */
struct interval {
	u64 cgroup;
	u64 end_ns;
	u64 length_ns; /* 0 where only quiet is told */
	u32 cpu;
	u32 quiet; /* 1: when this ended, no CPU of the cgroup was held */
};

/* Makes the compiler describe the type, for user space. */
const struct interval *described __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18); /* user space sets the size */
} intervals SEC(".maps");

/* What the ring had no room for. */
struct excess {
	u64 count;
	u64 length_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct excess);
} excesses SEC(".maps");

volatile u64 excess_count; /* intervals that the ring had no room for */
volatile u64 lost;         /* of those, what excesses had no room for either */
volatile u64 unmatched;    /* returns without an entry: the program was not run */

/* What the entry hands to the return. Interrupts are off in between. */
struct entered {
	u64 queue;
	u64 start;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct entered);
} entries SEC(".maps");

static __always_inline int enter(struct cfs_rq *queue)
{
	u32 zero = 0;
	struct entered *entered = bpf_map_lookup_elem(&entries, &zero);

	if (!entered)
		return 0;
	entered->queue = (u64)queue;
	entered->start = read(u64, queue->throttled_clock);
	return 0;
}

static __always_inline void send(u64 cgroup, u64 start, u64 end, u32 cpu, bool quiet)
{
	struct interval *interval = bpf_ringbuf_reserve(&intervals, sizeof(*interval), 0);

	if (interval) {
		interval->cgroup = cgroup;
		interval->end_ns = end;
		interval->length_ns = end - start;
		interval->cpu = cpu;
		interval->quiet = quiet;
		/* It is read at every tick: nobody waits for it. */
		bpf_ringbuf_submit(interval, BPF_RB_NO_WAKEUP);
		return;
	}
	if (start == end)
		return;
	__sync_fetch_and_add(&excess_count, 1);
	struct excess none = {};
	struct excess *excess = bpf_map_lookup_elem(&excesses, &cgroup);
	if (!excess) {
		bpf_map_update_elem(&excesses, &cgroup, &none, BPF_NOEXIST);
		excess = bpf_map_lookup_elem(&excesses, &cgroup);
	}
	if (!excess) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	__sync_fetch_and_add(&excess->count, 1);
	__sync_fetch_and_add(&excess->length_ns, end - start);
}

static __always_inline int leave(void)
{
	u32 zero = 0;
	struct entered *entered = bpf_map_lookup_elem(&entries, &zero);

	if (!entered)
		return 0;
	struct cfs_rq *queue = (struct cfs_rq *)entered->queue;
	if (!queue) {
		__sync_fetch_and_add(&unmatched, 1);
		return 0;
	}
	u64 start = entered->start;
	entered->queue = 0;
	/* Newer kernels may leave it held, with what it lacks still to come. */
	if (BPF_CORE_READ_BITFIELD_PROBED(queue, throttled))
		return 0;

	struct task_group *group = read(struct task_group *, queue->tg);
	struct cgroup *cgroup = read(struct cgroup *, group->css.cgroup);
	u64 container = own_container(cgroup);
	if (!container)
		return 0;

	struct task_group___throttle *listed = (void *)group;
	struct list_head___throttle *head = &listed->cfs_bandwidth.throttled_cfs_rq;
	bool quiet = read(struct list_head___throttle *, head->next) == head;

	struct rq *rq = read(struct rq *, queue->rq);
	u64 end = read(u64, rq->clock);
	/* No clock was started where nothing wanted to run (6.6 and newer). */
	if (!start || start > end)
		start = end;
	if (start == end && !quiet)
		return 0;
	send(container, start, end, read(u32, rq->cpu), quiet);
	return 0;
}

SEC("fentry/unthrottle_cfs_rq")
int BPF_PROG(fentry_unthrottle, struct cfs_rq *queue)
{
	return enter(queue);
}

SEC("fexit/unthrottle_cfs_rq")
int BPF_PROG(fexit_unthrottle)
{
	return leave();
}

SEC("kprobe/unthrottle_cfs_rq")
int BPF_KPROBE(kprobe_unthrottle, struct cfs_rq *queue)
{
	return enter(queue);
}

SEC("kretprobe/unthrottle_cfs_rq")
int BPF_KPROBE(kretprobe_unthrottle)
{
	return leave();
}
