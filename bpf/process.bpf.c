//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The life of the images that were seen connecting: kept in step with exec, fork
 * and exit, synchronously, so that what stands in the map runs. */
#include "include/abi.h"
#include "maps/counters.h"
#include "maps/epochs.h"
#include "maps/events.h"
#include "maps/images.h"

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
	struct image *known = bpf_map_lookup_elem(&images, &tgid);
	struct image ended;
	__u32 slot = tgid % EPOCHS;
	__u64 *epoch;

	if (!known)
		return;
	ended = *known;
	bpf_map_delete_elem(&images, &tgid);
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

/* Run by the agent on itself: in a PID namespace of its own it could not know
 * its ids otherwise. */
SEC("syscall")
int lanyard_whoami(struct process *self)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;

	self->image.start_time = leader->start_boottime;
	self->image.exec_id = leader->self_exec_id;
	self->tgid = leader->tgid;
	self->what = IMAGE_RUNS;
	return 0;
}
