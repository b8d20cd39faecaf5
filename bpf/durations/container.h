/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which container a cgroup belongs to, by its place in the kubelet's tree. */
#ifndef SLICEWATCH_CONTAINER_H
#define SLICEWATCH_CONTAINER_H

#include "unread.h"
#include "read.h"

/* The cgroups that user space found the tree by; 0 while there is none. The
 * Guaranteed class has no cgroup: its pods are directly below kubepods. */
volatile u64 kubepods_id;
volatile u64 class_ids[2];

/* How many cgroups a container may have made below each other. */
#define NESTED 29
#define TOO_DEEP (~0ULL)

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	if (!cgroup)
		return 0;
	struct cgroup_subsys_state *css = read(struct cgroup_subsys_state *, cgroup->self.parent);
	if (!css)
		return 0;
	return read(struct cgroup *, css->cgroup);
}

static __always_inline bool is_class(u64 id)
{
	return id == class_ids[0] || id == class_ids[1];
}

/* Says by the ids of the three cgroups above it, the nearest first, whether a
 * cgroup is where the kubelet has a container's. */
static __always_inline bool is_container(u64 pod, u64 above, u64 top)
{
	if (!kubepods_id || !above)
		return false;
	if (above == kubepods_id)
		return !is_class(pod);
	return top == kubepods_id && is_class(above);
}

/* The id of cgroup if it is a container's own, else 0. */
static __always_inline u64 own_container(struct cgroup *cgroup)
{
	struct cgroup *pod = parent_of(cgroup);
	struct cgroup *above = parent_of(pod);
	struct cgroup *top = parent_of(above);

	if (!is_container(cgroup_id(pod), cgroup_id(above), cgroup_id(top)))
		return 0;
	return cgroup_id(cgroup);
}

/* The id of the container that cgroup is of or is below of, else 0; TOO_DEEP
 * where it is too far up to be looked for. */
static __always_inline u64 container_of_cgroup(struct cgroup *cgroup)
{
	struct cgroup *pod = parent_of(cgroup);
	struct cgroup *above = parent_of(pod);
	struct cgroup *top = parent_of(above);
	u64 id = cgroup_id(cgroup), pod_id = cgroup_id(pod), above_id = cgroup_id(above);

	if (!kubepods_id)
		return 0;
	for (int i = 0; i < NESTED && above_id; i++) {
		u64 top_id = cgroup_id(top);

		if (is_container(pod_id, above_id, top_id))
			return id;
		id = pod_id;
		pod_id = above_id;
		above_id = top_id;
		top = parent_of(top);
	}
	return above_id ? TOO_DEEP : 0;
}

#endif
