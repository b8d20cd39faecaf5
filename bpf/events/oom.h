/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * OOM kills. oom_kill_process() is one incident: it knows the limit that was
 * hit. Each victim, of which a group kill has several, then passes
 * mark_oom_victim(). So does a task that is exiting anyway and is let use the
 * last memory for that: it is no kill.
 */

static __always_inline struct mem_cgroup *memory_of(struct task_struct *task)
{
	struct css_set *set = read(struct css_set *, task->cgroups);

	return (void *)controller(set, memory_cgrp_id);
}

/* The cgroup that memory.events counts the kill of a task in: that of its
 * memory's owner (memcg_memory_event_mm). */
static __always_inline struct mem_cgroup *counting_memory(struct task_struct *task)
{
	struct mm_struct *mm = read(struct mm_struct *, task->mm);
	struct task_struct *owner = mm ? read(struct task_struct *, mm->owner) : 0;

	return memory_of(owner ? owner : task);
}

static __always_inline int begin_incident(struct oom_control *control)
{
	u32 zero = 0;
	struct incident *incident = bpf_map_lookup_elem(&incidents, &zero);

	if (!incident)
		return 0;
	struct task_struct *chosen = read(struct task_struct *, control->chosen);
	struct mem_cgroup *owner = counting_memory(chosen);

	incident->number = bpf_ktime_get_boot_ns();
	incident->chosen = (u64)chosen;
	incident->chosen_tgid = read(s32, chosen->tgid);
	incident->owner = (u64)owner;
	incident->kills = owner ? memory_event(owner, memory_events_local, MEMCG_OOM_KILL) : 0;
	incident->memory = (u64)read(struct mem_cgroup *, control->memcg);
	incident->victims = 0;
	incident->constraint = read(u32, control->constraint);
	incident->caller = bpf_get_current_pid_tgid();
	return 0;
}

static __always_inline int end_incident(void)
{
	u32 zero = 0;
	struct incident *incident = bpf_map_lookup_elem(&incidents, &zero);

	if (incident)
		incident->caller = 0;
	return 0;
}

SEC("fentry/oom_kill_process")
int BPF_PROG(oom_begins, struct oom_control *control)
{
	return begin_incident(control);
}

SEC("fexit/oom_kill_process")
int BPF_PROG(oom_ends)
{
	return end_incident();
}

SEC("kprobe/oom_kill_process")
int BPF_KPROBE(oom_begins_kprobe, struct oom_control *control)
{
	return begin_incident(control);
}

SEC("kretprobe/oom_kill_process")
int oom_ends_kprobe(struct pt_regs *context)
{
	return end_incident();
}

static __always_inline void take_place(struct place *to, struct cgroup *cgroup)
{
	u64 top = kubepods_id();

	to->id = cgroup_id(cgroup);
	to->below[0] = to->below[1] = to->below[2] = 0;
	for (int i = 0; i < MAX_DEPTH; i++) {
		u64 id = cgroup_id(cgroup);

		if (!id || id == top)
			break;
		to->below[2] = to->below[1];
		to->below[1] = to->below[0];
		to->below[0] = id;
		cgroup = parent_of(cgroup);
	}
}

/* Says whether all of memory.oom.group's cgroup dies with the victim
 * (mem_cgroup_get_oom_group). */
static __always_inline bool is_group_kill(struct mem_cgroup *memory, u64 limit)
{
	for (int i = 0; i < MAX_DEPTH && memory; i++) {
		struct cgroup_subsys_state *parent = read(struct cgroup_subsys_state *, memory->css.parent);

		if (!parent)
			return false; /* the root has no such file */
		if (read(u8, memory->oom_group))
			return true;
		if ((u64)memory == limit)
			return false;
		memory = (void *)parent;
	}
	return false;
}

struct parts {
	u64 counters; /* the address without a CPU */
	s64 sum;
};

static long add_part(u32 cpu, struct parts *parts)
{
	u64 offset = per_cpu_offset(cpu);
	s32 part = 0;

	if (!offset || bpf_probe_read_kernel(&part, sizeof(part), (void *)(parts->counters + offset)))
		read_failed();
	parts->sum += part;
	return 0;
}

static __always_inline s64 all_of(struct percpu_counter *counter)
{
	struct parts parts = { .sum = read(s64, counter->count) };

	if (!have_per_cpu)
		return parts.sum;
	parts.counters = (u64)read(s32 *, counter->counters);
	bpf_loop(cpus, add_part, &parts, 0);
	return parts.sum;
}

/* The index must be a literal, see kernel.h. MM_FILEPAGES 0, MM_ANONPAGES 1,
 * MM_SWAPENTS 2, MM_SHMEMPAGES 3 (mm_types_task.h). */
#define resident(mm, index)                                                     \
	({                                                                      \
		s64 __pages;                                                    \
		struct mm_struct___atomics *__older = (void *)(mm);             \
		if (bpf_core_field_exists(__older->rss_stat.count))             \
			__pages = read(s64, __older->rss_stat.count[index].counter); \
		else                                                            \
			__pages = all_of(&(mm)->rss_stat[index]);               \
		__pages < 0 ? 0 : __pages;                                      \
	})

static __always_inline void take_task(struct kill *to, struct task_struct *task)
{
	struct css_set *set = read(struct css_set *, task->cgroups);
	struct signal_struct *signal = read(struct signal_struct *, task->signal);
	struct mm_struct *mm = read(struct mm_struct *, task->mm);

	to->tgid = read(s32, task->tgid);
	bpf_core_read(to->comm, sizeof(to->comm), &task->comm);
	to->adj = read(s16, signal->oom_score_adj);
	take_place(&to->victim, read(struct cgroup *, set->dfl_cgrp));
	if (!mm) {
		count(SOURCE_OOM, failed);
		return;
	}
	to->file_pages = resident(mm, 0);
	to->anon_pages = resident(mm, 1);
	to->swap_pages = resident(mm, 2);
	to->shmem_pages = resident(mm, 3);
}

static __always_inline void take_limit(struct kill *to, struct incident *incident, struct task_struct *task)
{
	struct mem_cgroup *memory = (void *)incident->memory;

	to->flags |= FLAG_LIMIT_KNOWN;
	to->incident = incident->number;
	to->constraint = incident->constraint;
	if (task && is_group_kill(memory_of(task), incident->memory))
		to->flags |= FLAG_GROUP;
	if (!memory) {
		to->flags |= FLAG_GLOBAL;
		return;
	}
	take_place(&to->limit, read(struct cgroup *, memory->css.cgroup));
	to->limit_pages = read(u64, memory->memory.max);
	to->usage_pages = read(u64, memory->memory.usage);
}

/* Says whether a victim within an incident is killed. Only the chosen one can
 * be let go, and then nothing was counted. */
static __always_inline bool is_kill(struct incident *incident, struct task_struct *task)
{
	struct mem_cgroup *owner = (void *)incident->owner;

	if (incident->victims > 0 || !owner || read(s32, task->tgid) != incident->chosen_tgid)
		return true;
	return memory_event(owner, memory_events_local, MEMCG_OOM_KILL) != incident->kills;
}

/* Says whether a process is told for the first time, and notes it. It is marked
 * once more when its first thread has gone and a group kill, also a later one,
 * comes by its other threads. */
static __always_inline bool is_first(struct task_struct *task)
{
	struct victim victim = {
		.signal = (u64)read(struct signal_struct *, task->signal),
		.tgid = read(u32, task->tgid),
	};
	u8 yes = 1;

	if (bpf_map_lookup_elem(&told, &victim))
		return false;
	if (bpf_map_update_elem(&told, &victim, &yes, BPF_ANY))
		count(SOURCE_OOM, failed); /* no room: it may be told again */
	return true;
}

/* Makes room in told when a process has gone: its first thread goes last. */
static __always_inline void forget_victim(struct task_struct *task)
{
	struct victim victim = { .tgid = read(u32, task->tgid) };

	if (read(u32, task->pid) != victim.tgid)
		return;
	victim.signal = (u64)read(struct signal_struct *, task->signal);
	if (bpf_map_lookup_elem(&told, &victim))
		bpf_map_delete_elem(&told, &victim);
}

/* The same where nothing is known but the victim. memory.events.local has the
 * kill counted by now. A cgroup's first victim is judged by whether it ever
 * had a kill. */
static __always_inline bool is_kill_by_count(struct task_struct *task)
{
	struct mem_cgroup *owner = counting_memory(task);

	if (!owner)
		return true;
	u64 id = css_cgroup_id(&owner->css);
	u64 kills = memory_event(owner, memory_events_local, MEMCG_OOM_KILL);
	u64 *before = bpf_map_lookup_elem(&last_kills, &id);
	bool grew = kills != (before ? *before : 0);

	if (bpf_map_update_elem(&last_kills, &id, &kills, BPF_ANY))
		count(SOURCE_OOM, failed); /* no room: the next one is judged as if it were the first */
	return grew;
}

/* Makes room in last_kills when a cgroup has gone. */
static __always_inline void forget_kills(struct cgroup *cgroup)
{
	u64 id = cgroup_id(cgroup);

	if (bpf_map_lookup_elem(&last_kills, &id))
		bpf_map_delete_elem(&last_kills, &id);
}

/* Returns the incident that this is a victim of, if one is under way. */
static __always_inline struct incident *current_incident(void)
{
	u32 zero = 0;
	struct incident *incident = bpf_map_lookup_elem(&incidents, &zero);

	if (!incident || incident->caller != bpf_get_current_pid_tgid())
		return 0;
	return incident;
}

static __always_inline int tell(struct task_struct *task, s32 pid, struct incident *incident)
{
	struct kill *kill = bpf_ringbuf_reserve(&ring, sizeof(*kill), 0);

	if (!kill) {
		count(SOURCE_OOM, lost);
		return 0;
	}
	__builtin_memset(kill, 0, sizeof(*kill));
	kill->kind = KIND_KILL;
	kill->time_ns = bpf_ktime_get_boot_ns();
	kill->trigger_tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(kill->trigger_comm, sizeof(kill->trigger_comm));
	if (task) {
		take_task(kill, task);
	} else {
		kill->tgid = pid;
		count(SOURCE_OOM, failed);
	}
	if (incident)
		take_limit(kill, incident, task);
	bpf_ringbuf_submit(kill, 0);
	return 0;
}

/* TP_PROTO(struct task_struct *task, uid_t uid), formerly TP_PROTO(int pid):
 * then only the chosen process is known by more than its number. */
SEC("raw_tp/mark_victim")
int oom_victim(u64 *arguments)
{
	struct incident *incident = current_incident();
	struct task_struct *task = 0;
	s32 pid = 0;

	if (bpf_core_field_exists(((struct trace_event_raw_mark_victim *)0)->anon_rss))
		task = (void *)arguments[0];
	else if (incident && incident->victims == 0)
		task = (void *)incident->chosen;
	else
		pid = arguments[0];
	if (have_incidents && !incident) {
		count(SOURCE_OOM, marked);
		return 0;
	}
	bool kill = true;

	if (incident) {
		kill = !task || is_kill(incident, task);
		incident->victims++;
	} else if (task) {
		kill = is_kill_by_count(task);
	}
	if (!kill) {
		count(SOURCE_OOM, marked);
		return 0;
	}
	if (task && !is_first(task))
		return 0;
	return tell(task, pid, incident);
}
