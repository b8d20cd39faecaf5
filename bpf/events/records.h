/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What goes through the ring, and what user space reads besides. */
#ifndef SLICEWATCH_EVENTS_RECORDS_H
#define SLICEWATCH_EVENTS_RECORDS_H

#define NAME_BYTES 128 /* of a cgroup's directory, with the closing 0 */
#define COMM_BYTES 16
#define BELOW 3 /* levels below kubepods: slice, pod, container */
#define PER_CPU_MARK "0x736c696365"

enum kind {
	KIND_BIRTH = 1,
	KIND_DEATH = 2,
	KIND_KILL = 3,
	KIND_LATE = 4,
};

enum source {
	SOURCE_LIFECYCLE,
	SOURCE_OOM,
	SOURCES,
};

struct tally {
	u64 lost;   /* events for which the ring had no room */
	u64 failed; /* events that lack something that could not be read, or may come again */
	u64 marked; /* tasks that got the last memory and were not killed for it */
};

struct birth {
	enum kind kind;
	u32 unused;
	u64 time_ns; /* CLOCK_BOOTTIME */
	u64 id, parent;
	u8 name[NAME_BYTES];
};

enum part {
	PART_PENDING = 1 << 0,    /* usage_ns, user_ns, system_ns are up to date */
	PART_GROUP_TIME = 1 << 1, /* group_ns is there */
	PART_BANDWIDTH = 1 << 2,
	PART_MEMORY = 1 << 3,
};

struct cpu_times {
	u64 usage_ns, user_ns, system_ns; /* not adjusted */
	u64 shown_user_ns, shown_system_ns; /* what cpu.stat last showed */
	u64 group_ns;
	u64 periods, throttled_periods, throttled_ns, bursts, burst_ns;
	u64 quota_ns, period_ns;
};

struct death {
	enum kind kind;
	enum part parts;
	u64 time_ns;
	u64 id, parent;
	struct cpu_times cpu;
	u64 peak_pages, max_pages;
	u64 oom_group;
	u64 memory_events[6], local_events[6]; /* as memory.events prints them */
	u64 swap_events[3];
	u8 name[NAME_BYTES];
};

/* A dead cgroup's CPU time was more than its death said. */
struct late {
	enum kind kind;
	enum part parts;
	u64 time_ns;
	u64 id;
	struct cpu_times cpu;
};

enum flag {
	FLAG_LIMIT_KNOWN = 1 << 0,
	FLAG_GLOBAL = 1 << 1,
	FLAG_GROUP = 1 << 2,
};

/* A cgroup: the one itself, and those of its ancestors that are one to three
 * levels below kubepods, 0 where there is none. */
struct place {
	u64 id;
	u64 below[BELOW];
};

struct kill {
	enum kind kind;
	enum flag flags;
	u64 time_ns;
	u64 incident;
	struct place victim, limit;
	u64 limit_pages, usage_pages;
	u64 anon_pages, file_pages, shmem_pages, swap_pages;
	s32 tgid, trigger_tgid;
	s32 adj;
	u32 constraint;
	u8 comm[COMM_BYTES], trigger_comm[COMM_BYTES];
};

/* A process, for as long as it is one. */
struct victim {
	u64 signal; /* signal_struct */
	u64 tgid;
};

/* A call of oom_kill_process(). */
struct incident {
	u64 caller;  /* bpf_get_current_pid_tgid(), 0 when no call is under way */
	u64 number;  /* when it began */
	u64 chosen;  /* task_struct */
	u64 owner;   /* mem_cgroup that the kill is counted in */
	u64 kills;   /* its memory.events.local oom_kill before */
	u64 memory;  /* mem_cgroup whose limit was hit, 0 for the node's memory */
	u64 victims; /* so far */
	u32 constraint;
	s32 chosen_tgid;
};

#endif
