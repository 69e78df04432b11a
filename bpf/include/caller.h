//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Who calls connect(), and whether any identity can match it. */
#ifndef LANYARD_CALLER_H
#define LANYARD_CALLER_H

#include "include/abi.h"
#include "maps/cgroups.h"
#include "maps/executables.h"
#include "maps/users.h"

struct caller {
	struct image image;
	__u64 cgroup;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	__u32 pad;
};

/* The thread-group leader's values: a thread that execs takes the leader's place
 * and start time, and only the leader's exec id is counted on. */
static __always_inline void identify_caller(struct task_struct *task, struct caller *who)
{
	struct task_struct *leader = task->group_leader;

	who->image.start_time = leader->start_boottime;
	who->image.exec_id = leader->self_exec_id;
	who->cgroup = bpf_get_current_cgroup_id();
	who->tgid = task->tgid;
	who->uid = task->cred->euid.val;
	who->gid = task->cred->egid.val;
	who->pad = 0;
}

static __always_inline __u64 identities_by_name(struct task_struct *task, __u64 any)
{
	char name[EXECUTABLE_NAME_SIZE] = {};
	struct dentry *dentry = task->mm->exe_file->f_path.dentry;
	__u32 len = dentry->d_name.len;
	__u64 *mask;

	if (len >= EXECUTABLE_NAME_SIZE)
		return ~0ULL;
	len &= EXECUTABLE_NAME_SIZE - 1;
	if (bpf_probe_read_kernel(name, len, dentry->d_name.name))
		return ~0ULL;
	mask = bpf_map_lookup_elem(&executables, name);
	return mask ? *mask | any : any;
}

/* The identities of which the caller fails no condition that can be checked
 * here. User space decides; a bit too many only costs it a look. */
static __always_inline __u64 possible_identities(struct task_struct *task,
						 const struct caller *who,
						 const struct settings *now)
{
	__u64 possible = now->identities, *mask;

	if (now->flags & ALL_CANDIDATES)
		return ~0ULL;
	if (now->uid_any != now->identities) {
		mask = bpf_map_lookup_elem(&users, &who->uid);
		possible &= mask ? *mask | now->uid_any : now->uid_any;
		if (!possible)
			return 0;
	}
	if (now->name_any != now->identities) {
		possible &= identities_by_name(task, now->name_any);
		if (!possible)
			return 0;
	}
	if (now->cgroup_any != now->identities) {
		mask = bpf_map_lookup_elem(&cgroups, &who->cgroup);
		if (mask)
			possible &= *mask | now->cgroup_any;
	}
	return possible;
}

#endif
