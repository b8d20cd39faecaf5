/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Birth and death of cgroups, and what the tasks of a dead one used after it.
 */

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

/* What all CPUs have pending, and where each has it. */
struct pending {
	u64 now, folded; /* addresses without a CPU */
	u64 usage_ns, user_ns, system_ns;
};

static long add_pending(u32 cpu, struct pending *sum)
{
	u64 offset = per_cpu_offset(cpu);

	if (!offset) {
		read_failed();
		return 0;
	}
	struct cgroup_base_stat *these = (void *)(sum->now + offset);
	struct cgroup_base_stat *those = (void *)(sum->folded + offset);

	sum->usage_ns += read(u64, these->cputime.sum_exec_runtime) - read(u64, those->cputime.sum_exec_runtime);
	sum->user_ns += read(u64, these->cputime.utime) - read(u64, those->cputime.utime);
	sum->system_ns += read(u64, these->cputime.stime) - read(u64, those->cputime.stime);
	return 0;
}

/* What was folded at the last flush, and what each CPU has pending since. */
static __always_inline u32 take_cpu_time(struct cpu_times *to, struct cgroup *cgroup)
{
	to->usage_ns = read(u64, cgroup->bstat.cputime.sum_exec_runtime);
	to->user_ns = read(u64, cgroup->bstat.cputime.utime);
	to->system_ns = read(u64, cgroup->bstat.cputime.stime);
	to->shown_user_ns = read(u64, cgroup->prev_cputime.utime);
	to->shown_system_ns = read(u64, cgroup->prev_cputime.stime);
	if (!have_per_cpu)
		return 0;
	struct cgroup___base_cpu *newer = (void *)cgroup;
	struct pending sum = {};
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
	sum.now = now;
	sum.folded = folded;
	bpf_loop(cpus, add_pending, &sum, 0);
	to->usage_ns += sum.usage_ns;
	to->user_ns += sum.user_ns;
	to->system_ns += sum.system_ns;
	return PART_PENDING;
}

struct group_time {
	struct sched_entity **entities;
	u64 ns;
};

static long add_group_time(u32 cpu, struct group_time *sum)
{
	struct sched_entity *entity = 0;

	if (bpf_probe_read_kernel(&entity, sizeof(entity), sum->entities + cpu))
		read_failed();
	else if (entity)
		sum->ns += read(u64, entity->sum_exec_runtime);
	return 0;
}

/* The time that the scheduler gave to the group on each CPU, all groups below
 * it included. It is never behind, but ahead by what a CPU took to look for other
 * work each time that it had none of the group's left (newidle_balance(), before
 * the group is put down), knows no real-time tasks, and is gone in 7.x. */
static __always_inline u32 take_group_time(struct cpu_times *to, struct task_group *group)
{
	if (!bpf_core_field_exists(group->se))
		return 0;
	struct group_time sum = { .entities = read(struct sched_entity **, group->se) };

	bpf_loop(cpus, add_group_time, &sum, 0);
	to->group_ns = sum.ns;
	return PART_GROUP_TIME;
}

static __always_inline bool has_descendants(struct cgroup *cgroup)
{
	return read(s32, cgroup->nr_descendants) || read(s32, cgroup->nr_dying_descendants);
}

/* Returns which parts of it are there. group may be NULL. */
static __always_inline u32 take_cpu(struct cpu_times *to, struct cgroup *cgroup, struct task_group *group)
{
	u32 parts = take_cpu_time(to, cgroup);

	if (!group)
		return parts;
	/* What each CPU counts is all there is, but for what cgroups below have not
	 * handed on yet. */
	if (!(parts & PART_PENDING) || has_descendants(cgroup))
		parts |= take_group_time(to, group);
	if (!bpf_core_field_exists(group->cfs_bandwidth))
		return parts;
	take_bandwidth(to, group);
	return parts | PART_BANDWIDTH;
}

/* The CPU time that user space makes of it, see decode.go. */
static __always_inline u64 used(struct cpu_times *times)
{
	return times->usage_ns > times->group_ns ? times->usage_ns : times->group_ns;
}

static __always_inline u32 take_memory(struct death *to, struct cgroup *cgroup)
{
	struct mem_cgroup *memory = (void *)controller(cgroup, memory_cgrp_id);

	if (!memory)
		return 0;
	to->peak_pages = read(u64, memory->memory.watermark);
	to->max_pages = read(u64, memory->memory.max);
	to->oom_group = read(u8, memory->oom_group);
	take_events(to->memory_events, memory, memory_events);
	take_events(to->local_events, memory, memory_events_local);
	take_swap_events(to->swap_events, memory);
	return PART_MEMORY;
}

static __always_inline void note_told(u64 id, u64 ns)
{
	bpf_map_update_elem(&told_times, &id, &ns, BPF_ANY);
}

/* TP_PROTO(struct cgroup *cgrp, const char *path). The directory has just
 * gone, and the tasks count as gone; the controllers' states go after this. */
SEC("raw_tp/cgroup_rmdir")
int cgroup_died(u64 *arguments)
{
	struct cgroup *cgroup = (void *)arguments[0];

	forget_kills(cgroup);
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
	death->parts = take_cpu(&death->cpu, cgroup, (void *)controller(cgroup, cpu_cgrp_id));
	death->parts |= take_memory(death, cgroup);
	note_told(death->id, used(&death->cpu));
	bpf_ringbuf_submit(death, 0);
	return 0;
}

/* --- what comes after a death --- */

/* CSS_ONLINE of linux/cgroup-defs.h, whose enum has no name to find it by. */
#define ONLINE (1 << 1)

struct cgroup_subsys_state___flags {
	unsigned int flags;
} __attribute__((preserve_access_index));

/* cgroup_is_dead(): from the moment on in which the directory goes. */
static __always_inline bool is_dead(struct cgroup *cgroup)
{
	struct cgroup_subsys_state___flags *self = (void *)&cgroup->self;

	return !(read(u32, self->flags) & ONLINE);
}

/* A dead cgroup has lost its controllers' states. They are found through its
 * task, which keeps them. */
static __always_inline struct task_group *group_of(struct task_struct *task, struct cgroup *cgroup)
{
	struct css_set *set = read(struct css_set *, task->cgroups);
	struct cgroup_subsys_state *css = controller(set, cpu_cgrp_id);

	for (int i = 0; i < MAX_DEPTH && css; i++) {
		if (read(struct cgroup *, css->cgroup) == cgroup)
			return (void *)css;
		css = read(struct cgroup_subsys_state *, css->parent);
	}
	return 0;
}

/* The next task of the cgroup tells all of it: that there was one loss is
 * enough. Two CPUs may be here at once, hence a map that takes an entry once. */
static __always_inline void count_late_lost(u64 id)
{
	u8 yes = 1;

	if (!bpf_map_update_elem(&late_lost, &id, &yes, BPF_NOEXIST))
		count(SOURCE_LIFECYCLE, lost);
}

/* Tells the CPU time of a dead cgroup anew if it is more than was told. */
static __noinline int correct(struct task_struct *task, struct cgroup *cgroup)
{
	struct cpu_times times = {};
	u32 parts = take_cpu(&times, cgroup, group_of(task, cgroup));
	u64 id = cgroup_id(cgroup), now = used(&times);

	if (!(parts & (PART_PENDING | PART_GROUP_TIME)))
		return 0;
	u64 *told = bpf_map_lookup_elem(&told_times, &id);

	if (told && *told >= now)
		return 0;
	struct late *late = has_room() ? bpf_ringbuf_reserve(&ring, sizeof(*late), 0) : 0;

	if (!late) {
		count_late_lost(id);
		return 0;
	}
	late->kind = KIND_LATE;
	late->parts = parts;
	late->time_ns = bpf_ktime_get_boot_ns();
	late->id = id;
	late->cpu = times;
	note_told(id, now);
	bpf_ringbuf_submit(late, 0);
	return 0;
}

/* TP_PROTO(struct task_struct *p). A task counts as gone from its cgroup before
 * it has left its CPU for good; a cgroup can be removed in between, and what
 * the task uses until then is charged all the same. The kernel lets go of a task
 * some time after both. */
SEC("raw_tp/sched_process_free")
int task_gone(u64 *arguments)
{
	struct task_struct *task = (void *)arguments[0];
	struct css_set *set = read(struct css_set *, task->cgroups);
	struct cgroup *cgroup = read(struct cgroup *, set->dfl_cgrp);

	forget_victim(task);
	if (!cgroup || !is_dead(cgroup))
		return 0;
	u64 top = kubepods_id();
	struct cgroup *slice = 0, *pod = 0, *container = 0;
	bool found = false;

	for (int i = 0; i < MAX_DEPTH && cgroup && top; i++) {
		if (cgroup_id(cgroup) == top) {
			found = true;
			break;
		}
		container = pod;
		pod = slice;
		slice = cgroup;
		cgroup = parent_of(cgroup);
	}
	if (!found)
		return 0;
	if (container && is_dead(container))
		correct(task, container);
	if (pod && is_dead(pod))
		correct(task, pod);
	if (slice && is_dead(slice))
		correct(task, slice);
	return 0;
}

