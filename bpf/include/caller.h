//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Who calls connect(), and which identities it may have, or has. Two questions:
 * whom no identity can match goes straight on, while an agent answers; whom one
 * matches for certain is refused at closed destinations, while none does. */
#ifndef LANYARD_CALLER_H
#define LANYARD_CALLER_H

#include "include/abi.h"
#include "include/budget.h"
#include "include/cgroup.h"
#include "include/file.h"
#include "include/image.h"
#include "maps/executables.h"
#include "maps/files.h"
#include "maps/groups.h"
#include "maps/settings_now.h"
#include "maps/users.h"

struct caller {
	struct image image;
	__u64 cgroup;
	__u64 possible; /* identities that it may have */
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	__u32 identity; /* that the image is known to have: bit plus 1 */
};

/* The thread-group leader's values: a thread that execs takes the leader's place
 * and start time, and only the leader's exec id is counted on. */
static __always_inline void identify_caller(struct task_struct *task, struct caller *who)
{
	struct task_struct *leader = task->group_leader;

	who->image.start_time = leader->start_boottime;
	who->image.exec_id = leader->self_exec_id;
	who->cgroup = bpf_get_current_cgroup_id();
	who->possible = 0;
	who->tgid = task->tgid;
	who->uid = task->cred->euid.val;
	who->gid = task->cred->egid.val;
	who->identity = 0;
}

/* A global function, for its stack. */
__attribute__((noinline)) __u64 identities_by_name(__u64 any)
{
	char name[NAME_SIZE] = {};
	struct dentry *dentry = bpf_get_current_task_btf()->mm->exe_file->f_path.dentry;
	__u32 len = dentry->d_name.len;
	__u64 *mask;

	if (len >= NAME_SIZE)
		return ~0ULL;
	len &= NAME_SIZE - 1;
	if (bpf_probe_read_kernel(name, len, dentry->d_name.name))
		return ~0ULL;
	mask = bpf_map_lookup_elem(&executables, name);
	return mask ? *mask | any : any;
}

static __always_inline __u64 identities_by_user(__u32 uid, __u64 any)
{
	__u64 *mask = bpf_map_lookup_elem(&users, &uid);

	return mask ? *mask | any : any;
}

static __always_inline __u64 identities_by_group(__u32 gid, __u64 any)
{
	__u64 *mask = bpf_map_lookup_elem(&groups, &gid);

	return mask ? *mask | any : any;
}

/* Learns what user space found out about the image, if it was under these ids,
 * this cgroup and this configuration. */
static __always_inline void recall_identity(struct caller *who, __u64 generation)
{
	__u32 *attributed = attributed_at(who->tgid);
	struct known_image *known;

	if (!attributed || !*attributed) /* which costs a bystander less than the look below */
		return;
	known = bpf_map_lookup_elem(&images, &who->tgid);
	if (known && known->identity && is_same_image(&known->image, &who->image) &&
	    known->uid == who->uid && known->gid == who->gid && known->cgroup == who->cgroup &&
	    known->generation == generation)
		who->identity = known->identity;
}

/* An executable that was renamed, or that has another name in another mount, is what
 * it was to those who were found to run it. */
static __always_inline __u64 identities_whatever_the_name(struct caller *who, const struct settings *now)
{
	recall_identity(who, now->generation);
	return who->identity ? 1ULL << ((who->identity - 1) & 63) : 0;
}

/* The identities of which the caller fails no condition that can be checked
 * here. User space decides; a bit too many only costs it a look. */
static __always_inline __u64 possible_identities(struct task_struct *task, struct caller *who,
						 const struct settings *now)
{
	__u64 possible = now->identities;
	struct cgroup_facts *where;

	if (now->flags & ALL_CANDIDATES)
		return ~0ULL;
	if (now->uid_any != now->identities) {
		possible &= identities_by_user(who->uid, now->uid_any);
		if (!possible)
			return 0;
	}
	if (now->gid_any != now->identities) {
		possible &= identities_by_group(who->gid, now->gid_any);
		if (!possible)
			return 0;
	}
	if (now->name_any != now->identities) {
		possible &= identities_by_name(now->name_any);
		if (!possible)
			return identities_whatever_the_name(who, now);
	}
	if (now->cgroup_any != now->identities) {
		where = cgroup_facts(task, now);
		if (where)
			possible &= where->possible | now->cgroup_any;
	}
	return possible;
}

/* The identities of which the caller, under these ids, meets every condition, and whose
 * cgroup meets that of some identities. A global function, for its stack. */
__attribute__((noinline)) __u64 certain_in_cgroup(__u32 uid, __u32 gid, __u64 by_cgroup)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);
	struct file_id file;
	__u64 certain, *mask;

	if (!now || !task->mm)
		return 0;
	certain = now->exact & identities_by_user(uid, now->uid_any) &
		  identities_by_group(gid, now->gid_any) & (by_cgroup | now->cgroup_any);
	if (!certain || now->file_any == now->identities)
		return certain;
	identify_file(task->mm->exe_file->f_inode, &file);
	mask = bpf_map_lookup_elem(&files, &file);
	return certain & ((is_known_file(&file) && mask ? *mask : 0) | now->file_any);
}

/* The identities of which the caller meets every condition, by the kernel's own
 * word on user, group, cgroup and file. */
static __always_inline __u64 certain_identities(struct task_struct *task,
						const struct caller *who,
						const struct settings *now)
{
	struct cgroup_facts *where = 0;

	if (now->cgroup_any != now->identities)
		where = cgroup_facts(task, now);
	return certain_in_cgroup(who->uid, who->gid, where ? where->certain : 0);
}

/* An identity of a set, as bit plus 1. */
static __always_inline __u32 first_of(__u64 identities)
{
	__u32 identity;

	for (identity = 1; identity < 64 && !(identities & 1); identity++)
		identities >>= 1;
	return identity;
}

/* Notes in a flow which place the caller is in, and as who. */
static __always_inline void note_place(struct task_struct *task, const struct caller *who,
				       const struct settings *now, struct flow *flow)
{
	struct cgroup_facts *where = cgroup_facts(task, now);

	flow->place = where ? where->party : 0;
	flow->party_uid = where && where->is_user ? 0 : who->uid;
}

/* A global function, for its stack. */
__attribute__((noinline)) int put_record(__u32 tgid, __u32 budget, __u32 place, __u64 start_time,
				      __u64 exec_id)
{
	struct known_image image = {
		.tgid = tgid,
		.image = { .start_time = start_time, .exec_id = exec_id },
		.account = { .budget = budget, .place = place },
	};

	return (int)bpf_map_update_elem(&images, &tgid, &image, BPF_NOEXIST);
}

/* Puts the image on record, if it is not there. */
static __always_inline int track_image(const struct caller *who, const struct account *account,
				       const struct settings *now)
{
	struct known_image *known = bpf_map_lookup_elem(&images, &who->tgid);
	struct image before;

	if (known && is_same_image(&known->image, &who->image))
		return 0;
	if (known) /* the end of the one before was missed */
		end_record(who->tgid, &before);
	if (take_image(account, now))
		return -1;
	if (!put_record(who->tgid, account->budget, account->place, who->image.start_time,
			who->image.exec_id))
		return 0;
	give_image_back(account);
	/* Another thread of this image was faster; or the map is full, which the
	 * budgets do not allow. */
	known = bpf_map_lookup_elem(&images, &who->tgid);
	return known && is_same_image(&known->image, &who->image) ? 0 : -1;
}

#endif
