/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the cpu and the memory controller keep of a cgroup. */
#ifndef SLICEWATCH_CONTROLLERS_H
#define SLICEWATCH_CONTROLLERS_H

#include "read.h"

/* controller(cgroup, cpu_cgrp_id): its state in a cgroup or a css_set. */
#define controller(holder, name)           \
	read(struct cgroup_subsys_state *, \
	     (holder)->subsys[bpf_core_enum_value(enum cgroup_subsys_id, name)])

/* take_bandwidth(to, group): what cpu.stat and cpu.max say of a quota. The group
 * must have the field cfs_bandwidth. */
#define take_bandwidth(to, group)                                                  \
	do {                                                                       \
		(to)->periods = read(u32, (group)->cfs_bandwidth.nr_periods);      \
		(to)->throttled_periods =                                          \
			read(u32, (group)->cfs_bandwidth.nr_throttled);            \
		(to)->throttled_ns =                                               \
			read(u64, (group)->cfs_bandwidth.throttled_time);          \
		(to)->bursts = read(u32, (group)->cfs_bandwidth.nr_burst);         \
		(to)->burst_ns = read(u64, (group)->cfs_bandwidth.burst_time);     \
		(to)->quota_ns = read(u64, (group)->cfs_bandwidth.quota);          \
		(to)->period_ns = read(u64, (group)->cfs_bandwidth.period);        \
	} while (0)

/* memory_event(memory, memory_events, MEMCG_LOW): one of such an array. */
#define memory_event(memory, array, name)                                      \
	({                                                                     \
		u64 __count = 0;                                               \
		if (bpf_probe_read_kernel(&__count, sizeof(__count),           \
					  (char *)(memory) +                   \
						  bpf_core_field_offset((memory)->array) + \
						  sizeof(long) *               \
							  bpf_core_enum_value( \
								  enum memcg_memory_event, name))) \
			read_failed();                                         \
		__count;                                                       \
	})

/* The lines of memory.events and memory.events.local, in their order. */
#define take_events(to, memory, array)                                       \
	do {                                                                 \
		(to)[0] = memory_event(memory, array, MEMCG_LOW);            \
		(to)[1] = memory_event(memory, array, MEMCG_HIGH);           \
		(to)[2] = memory_event(memory, array, MEMCG_MAX);            \
		(to)[3] = memory_event(memory, array, MEMCG_OOM);            \
		(to)[4] = memory_event(memory, array, MEMCG_OOM_KILL);       \
		(to)[5] = memory_event(memory, array, MEMCG_OOM_GROUP_KILL); \
	} while (0)

/* The lines of memory.swap.events, in their order. */
#define take_swap_events(to, memory)                                           \
	do {                                                                   \
		(to)[0] = memory_event(memory, memory_events, MEMCG_SWAP_HIGH); \
		(to)[1] = memory_event(memory, memory_events, MEMCG_SWAP_MAX);  \
		(to)[2] = memory_event(memory, memory_events, MEMCG_SWAP_FAIL); \
	} while (0)

#endif
