//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What tells one state of one file from every other. */
#ifndef LANYARD_FILE_H
#define LANYARD_FILE_H

#include "include/abi.h"

/* Since 6.13 the kernel keeps a flag of its own in the nanoseconds. */
#define CTIME_NSEC_MASK 0x7fffffff

static __always_inline void change_time(const struct inode *inode, struct file_id *id)
{
	struct timespec64 ctime = {};

	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		id->ctime = (__u64)BPF_CORE_READ(inode, i_ctime_sec);
		id->ctime_ns = BPF_CORE_READ(inode, i_ctime_nsec) & CTIME_NSEC_MASK;
		return;
	}
	if (bpf_core_field_exists(((struct inode___6_6 *)inode)->__i_ctime))
		ctime = BPF_CORE_READ((struct inode___6_6 *)inode, __i_ctime);
	else
		ctime = BPF_CORE_READ((struct inode___5_15 *)inode, i_ctime);
	id->ctime = (__u64)ctime.tv_sec;
	id->ctime_ns = (__u32)ctime.tv_nsec;
}

/* A file with several names is none that can be told: which of them was executed
 * is not the file's. */
static __always_inline void identify_file(const struct inode *inode, struct file_id *id)
{
	__builtin_memset(id, 0, sizeof(*id));
	if (!inode || BPF_CORE_READ(inode, i_nlink) != 1)
		return;
	id->inode = BPF_CORE_READ(inode, i_ino);
	id->size = (__u64)BPF_CORE_READ(inode, i_size);
	id->device = BPF_CORE_READ(inode, i_sb, s_dev);
	id->generation = BPF_CORE_READ(inode, i_generation);
	change_time(inode, id);
}

static __always_inline int is_known_file(const struct file_id *id) { return id->inode != 0; }

#endif
