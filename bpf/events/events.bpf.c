//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rare events of cgroups below kubepods, in one ring, so that what happened
 * first is read first: birth, death with the last counters, OOM kill. Numbers
 * are as the kernel keeps them (ns, pages).
 */
#include "unread.h"
#include "controllers.h"
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
 * there are no incidents. An entry goes with its cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} last_kills SEC(".maps");

/* What was told of the CPU time of a cgroup that died, so that it is not told
 * for each of its tasks again. Where an entry had to go for another's sake, that
 * is what happens: user space knows that it is no news. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} told_times SEC(".maps");

/* Dead cgroups of which some CPU time found no room in the ring. One that had to
 * go for another's sake is counted as lost once more. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u8);
} late_lost SEC(".maps");

/* Processes whose kill was told and that are not gone yet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
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

/* Loops over the CPUs are bpf_loop()'s, whose body is verified once: the verifier
 * walks through each turn of another loop, and gives up at several hundred CPUs. */

/* The deepest a cgroup may be for its ancestors to be looked through. */
#define MAX_DEPTH 32

#include "oom.h"
#include "lifecycle.h"

/* Only so that BTF describes them: user space's types are made from it. */
const struct birth *birth_type __attribute__((unused));
const struct death *death_type __attribute__((unused));
const struct late *late_type __attribute__((unused));
const struct cpu_times *cpu_times_type __attribute__((unused));
const struct victim *victim_type __attribute__((unused));
const struct kill *kill_type __attribute__((unused));

/* The kernel's functions that are used here are for GPL programs alone. */
char licence[] SEC("license") = "Dual BSD/GPL";
