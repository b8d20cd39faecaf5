/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads of kernel memory that several programs make. */
#ifndef SLICEWATCH_READ_H
#define SLICEWATCH_READ_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* What is done about a read that fails, see unread.h. */
#ifndef read_failed
#define read_failed()
#endif

/* read(u64, pointer->field): the field's value, or 0 where the memory cannot be
 * read. The type must have the size of the field in the kernel: u32 for an
 * int. The field must not be an expression that itself contains a read(), which
 * clang 14 refuses, or the index of an array that is no literal. */
#define read(type, field)                                           \
	({                                                          \
		type __value = 0;                                   \
		if (bpf_core_read(&__value, sizeof(__value), &(field))) \
			read_failed();                              \
		__value;                                            \
	})

/* The cgroup's id, which is what bpf_get_current_cgroup_id() returns and the
 * inode number of its directory. 0 for NULL. */
static __always_inline u64 cgroup_id(struct cgroup *cgroup)
{
	if (!cgroup)
		return 0;
	struct kernfs_node *node = read(struct kernfs_node *, cgroup->kn);
	return read(u64, node->id);
}

/* The id of the cgroup that a controller's state belongs to. */
static __always_inline u64 css_cgroup_id(struct cgroup_subsys_state *css)
{
	if (!css)
		return 0;
	return cgroup_id(read(struct cgroup *, css->cgroup));
}

#endif
