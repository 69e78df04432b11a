//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The life of the images that were seen connecting: kept in step with exec, fork
 * and exit, synchronously, so that what stands in the map runs. */
#include "include/abi.h"
#include "include/budget.h"
#include "include/file.h"
#include "include/image.h"
#include "maps/counters.h"
#include "maps/epochs.h"
#include "maps/events.h"
#include "maps/images.h"
#include "maps/settings_now.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void tell(__u32 tgid, const struct image *ended, enum lifecycle what)
{
	struct process *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(COUNT_EVENT_LOST);
		return;
	}
	e->image = *ended;
	e->tgid = tgid;
	e->what = what;
	bpf_ringbuf_submit(e, 0);
}

/* The order matters: whoever saw the image in the map and the epoch unchanged
 * afterwards knows that the image was running in between. */
static __always_inline void image_ended(__u32 tgid, enum lifecycle what)
{
	struct image ended;
	__u32 slot = tgid % EPOCHS;
	__u64 *epoch;

	if (end_record(tgid, &ended))
		return;
	epoch = bpf_map_lookup_elem(&epochs, &slot);
	if (epoch)
		__sync_fetch_and_add(epoch, 1);
	count(what == IMAGE_EXEC ? COUNT_EXEC : COUNT_EXIT);
	tell(tgid, &ended, what);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(lanyard_exec, struct task_struct *task, pid_t old_pid, void *bprm)
{
	image_ended(task->tgid, IMAGE_EXEC);
	return 0;
}

/* Forks start unknown. An entry under a new process's id can only be that of an
 * earlier process whose exit was missed. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(lanyard_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid == child->tgid)
		image_ended(child->tgid, IMAGE_EXIT);
	return 0;
}

/* The leader may end before its other threads; the image ends with the last. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(lanyard_exit, struct task_struct *task)
{
	if (task->signal->live.counter == 0)
		image_ended(task->tgid, IMAGE_EXIT);
	return 0;
}

/* Run by the agent on itself: in namespaces of its own it could not know its ids
 * otherwise. */
SEC("syscall")
int lanyard_whoami(struct whoami *answer)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;

	answer->self.image.start_time = leader->start_boottime;
	answer->self.image.exec_id = leader->self_exec_id;
	answer->self.tgid = leader->tgid;
	answer->self.what = IMAGE_RUNS;
	answer->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	return 0;
}

/* Run by the agent on a descriptor of its own. */
SEC("syscall")
int lanyard_file(struct file_query *query)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd);
	struct file *file = 0;
	struct file_id id;
	__u32 fd = query->fd;

	if (fd >= BPF_CORE_READ(table, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), slots + fd) || !file)
		return -1;
	identify_file(BPF_CORE_READ(file, f_inode), &id);
	query->file = id;
	return 0;
}

/* What the agent tells these programs is a packet: programs of this type may hold
 * the lock of a record, those of type syscall may not. */
#define PACKET(ctx, type) \
	((void *)(long)(ctx)->data + sizeof(type) > (void *)(long)(ctx)->data_end ? \
		 0 : (type *)(void *)(long)(ctx)->data)

/* Only what a symbol has is described to user space. */
const struct identified *identified_packet __attribute__((unused));
const struct counted *counted_packet __attribute__((unused));

#define DONE 0
#define NOT_THERE 1

static __always_inline int has_room_for_image(const struct account *account)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);
	struct budget *mine = budget_at(account->budget);

	return now && mine && mine->images < now->identity_images;
}

/* Run by the agent when it found out which identity an image has. From then on the
 * image counts in the identity's budget, if that has room. */
SEC("tc")
int lanyard_identified(struct __sk_buff *ctx)
{
	struct identified *told = PACKET(ctx, struct identified);
	struct known_image *known;
	struct account account, former = {};
	__u32 tgid;
	int owned, room, first = 0;

	if (!told || !told->identity)
		return NOT_THERE;
	tgid = told->tgid;
	known = bpf_map_lookup_elem(&images, &tgid);
	if (!known)
		return NOT_THERE;
	account_of_identity(told->identity, &account);
	room = has_room_for_image(&account);
	bpf_spin_lock(&known->lock);
	owned = known->tgid == tgid && is_same_image(&known->image, &told->image);
	if (owned) {
		first = !known->identity;
		known->cgroup = told->cgroup;
		known->generation = told->generation;
		known->uid = told->uid;
		known->gid = told->gid;
		known->identity = told->identity;
		if (room && known->account.place) {
			former = known->account;
			known->account = account;
		}
	}
	bpf_spin_unlock(&known->lock);
	if (!owned)
		return NOT_THERE;
	if (first)
		count_attributed(tgid, 1);
	if (former.place) {
		count_image(&account, 1);
		give_image_back(&former);
	}
	return DONE;
}

/* Run by an agent that starts, which counts what a former one left anew. */
SEC("tc")
int lanyard_count_image(struct __sk_buff *ctx)
{
	struct counted *told = PACKET(ctx, struct counted);
	struct known_image *known;
	struct account account, former;
	__u32 tgid, identity;
	int owned;

	if (!told)
		return NOT_THERE;
	tgid = told->tgid;
	account = told->account;
	known = bpf_map_lookup_elem(&images, &tgid);
	if (!known)
		return NOT_THERE;
	bpf_spin_lock(&known->lock);
	owned = known->tgid == tgid;
	former = known->account;
	identity = known->identity;
	if (owned)
		known->account = account;
	bpf_spin_unlock(&known->lock);
	if (!owned)
		return NOT_THERE;
	told->account = former;
	if (!account.budget)
		return DONE;
	count_image(&account, 1);
	if (identity)
		count_attributed(tgid, 1);
	return DONE;
}

/* Run by the agent for every image on record, when a hook was missing that would have
 * seen its end. */
SEC("tc")
int lanyard_forget_image(struct __sk_buff *ctx)
{
	struct counted *told = PACKET(ctx, struct counted);

	if (!told)
		return NOT_THERE;
	image_ended(told->tgid, IMAGE_EXIT);
	return DONE;
}
