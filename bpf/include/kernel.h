/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs use them. CO-RE relocates every
 * access by the names of type and field, so neither order nor size nor the
 * fields that are left out matter, and one object serves arm64 and amd64
 * kernels from 6.1 on. A type with three underscores in its name is another
 * form of the type before them ("flavour"): which one the kernel has is found
 * out with bpf_core_field_exists().
 *
 * Traps: an array index must be a literal, as clang scales a variable one by
 * the size that the element has here. Enumerators that moved between kernels
 * are taken with bpf_core_enum_value().
 */
#ifndef SLICEWATCH_KERNEL_H
#define SLICEWATCH_KERNEL_H

/* For bpf_tracing.h: registers have the kernel's names. */
#define __VMLINUX_H__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s16 __s16;
typedef s32 __s32;
typedef s64 __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u32 __wsum;
typedef _Bool bool;

enum { false = 0, true = 1 };

/* linux/bpf.h; these numbers are the kernel's interface and do not move. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	s64 counter;
} atomic64_t;

/* --- cgroups --- */

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
	int id;
};

/* The parent is not here: the field was renamed in 6.15. cgroup.self.parent
 * leads there on every kernel. */
struct kernfs_node {
	const char *name;
	u64 id;
};

enum cgroup_subsys_id {
	cpu_cgrp_id = 1,
	io_cgrp_id = 3,
	memory_cgrp_id = 4,
	pids_cgrp_id = 11,
};

struct task_cputime {
	u64 stime;
	u64 utime;
	unsigned long long sum_exec_runtime;
};

struct cgroup_base_stat {
	struct task_cputime cputime;
};

struct cgroup_rstat_cpu {
	struct cgroup_base_stat bstat;
	struct cgroup_base_stat last_bstat;
};

struct cgroup_rstat_base_cpu {
	struct cgroup_base_stat bstat;
	struct cgroup_base_stat last_bstat;
};

/* total[NR_PSI_AGGREGATORS][NR_PSI_STATES - 1]. An old pahole writes it into
 * BTF as one row, a new one as two: it depends on the build, not on the
 * kernel's version. */
struct psi_group {
	bool enabled; /* 6.1 and newer: what cgroup.pressure says */
	u64 total[12];
};

struct psi_group___rows {
	u64 total[2][6];
};

/* What cputime_adjust() last gave for cpu.stat. */
struct prev_cputime {
	u64 utime;
	u64 stime;
};

struct cgroup_root {
	int hierarchy_id; /* 0 for cgroup v2 */
};

struct cgroup {
	struct cgroup_subsys_state self;
	unsigned long flags;
	int level;
	int nr_descendants;
	int nr_dying_descendants;
	int nr_populated_csets;
	struct kernfs_node *kn;
	struct cgroup_subsys_state *subsys[14];
	struct cgroup_base_stat bstat;
	struct prev_cputime prev_cputime;
	struct psi_group *psi;
	struct cgroup_rstat_cpu *rstat_cpu;
	struct cgroup_root *root;
};

/* 6.16 and newer. */
struct cgroup___base_cpu {
	struct cgroup_rstat_base_cpu *rstat_base_cpu;
};

struct css_set {
	struct cgroup_subsys_state *subsys[14];
	struct cgroup *dfl_cgrp;
};

/* --- cpu controller --- */

struct cfs_bandwidth {
	u64 period; /* ktime_t, which is a signed number of ns */
	u64 quota;
	u64 burst;
	int nr_periods;
	int nr_throttled;
	int nr_burst;
	u64 throttled_time;
	u64 burst_time;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct rq {
	int cpu;
	u64 clock;
};

struct task_group;

struct cfs_rq {
	struct task_group *tg;
	struct rq *rq;
	int throttled; /* a bit field on newer kernels */
	u64 throttled_clock;
};

struct task_group {
	struct cgroup_subsys_state css;
	struct sched_entity **se; /* gone in 7.x */
	struct cfs_rq **cfs_rq;
	unsigned long shares;
	int idle;
	struct cfs_bandwidth cfs_bandwidth;
};

/* --- memory controller --- */

struct page_counter {
	atomic_long_t usage;
	unsigned long min;
	unsigned long low;
	unsigned long high;
	unsigned long max;
	unsigned long watermark;
};

enum memcg_memory_event {
	MEMCG_LOW,
	MEMCG_HIGH,
	MEMCG_MAX,
	MEMCG_OOM,
	MEMCG_OOM_KILL,
	MEMCG_OOM_GROUP_KILL,
	MEMCG_SWAP_HIGH,
	MEMCG_SWAP_MAX,
	MEMCG_SWAP_FAIL,
};

/* Which index is which statistic differs between kernels: user space decides. */
struct memcg_vmstats {
	long state[50];
	unsigned long events[15];
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct page_counter swap;
	bool oom_group;
	struct memcg_vmstats *vmstats;
	atomic_long_t memory_events[9];
	atomic_long_t memory_events_local[9];
};

/* --- pids controller --- */

struct pids_cgroup {
	struct cgroup_subsys_state css;
	atomic64_t counter;
	atomic64_t limit;
	s64 watermark;
};

/* --- tasks --- */

struct signal_struct {
	s16 oom_score_adj;
};

struct percpu_counter {
	s64 count;
	s32 *counters; /* what each CPU has not added to count yet */
};

struct task_struct;

struct mm_struct {
	struct percpu_counter rss_stat[4];
	unsigned long total_vm;
	struct task_struct *owner;
};

/* Up to 6.1. */
struct mm_rss_stat {
	atomic_long_t count[4];
};

struct mm_struct___atomics {
	struct mm_rss_stat rss_stat;
};

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct mm_struct *mm;
};

enum oom_constraint {
	CONSTRAINT_NONE,
	CONSTRAINT_CPUSET,
	CONSTRAINT_MEMORY_POLICY,
	CONSTRAINT_MEMCG,
};

struct oom_control {
	struct mem_cgroup *memcg;
	int order;
	unsigned long totalpages;
	struct task_struct *chosen;
	long chosen_points;
	enum oom_constraint constraint;
};

/* --- what programs are called with --- */

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
};

struct trace_entry {
	u16 type;
};

/* Since the second form (6.9, and stable kernels) the tracepoint is called
 * with the task, before that with its pid. */
struct trace_event_raw_mark_victim {
	struct trace_entry ent;
	int pid;
	unsigned long anon_rss;
};

struct user_pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
};

struct pt_regs {
	unsigned long di, si, dx, cx, r8, ax, ip, sp, bp;
};

#pragma clang attribute pop

#endif
