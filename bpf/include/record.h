//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What a connecting socket keeps of its caller and of where it was to go, for the
 * listener's end of the connection. */
#ifndef LANYARD_RECORD_H
#define LANYARD_RECORD_H

#include "include/abi.h"
#include "include/address.h"
#include "include/budget.h"
#include "include/caller.h"
#include "maps/settings_now.h"
#include "maps/sockets.h"

/* The state of a socket that has none of an earlier connection. */
static __always_inline struct socket *state_of(struct bpf_sock_addr *ctx, struct socket *known)
{
	return known ? known : bpf_sk_storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void fill(struct bpf_sock_addr *ctx, struct flow *flow,
				 const struct target *t, const struct caller *who,
				 const struct settings *now)
{
	flow->socket_cookie = bpf_get_socket_cookie(ctx);
	flow->image = who->image;
	flow->cgroup = who->cgroup;
	flow->netns = bpf_get_netns_cookie(ctx);
	flow->generation = now->generation;
	flow->original = t->to.address;
	flow->original_port = t->port;
	flow->tgid = who->tgid;
	flow->uid = who->uid;
	flow->gid = who->gid;
	flow->identity = who->identity;
	note_place(bpf_get_current_task_btf(), who, now, flow);
}

/* Finds the budget that the connection will count in, from the SYN on. Where that
 * of a stranger is used up, an identity that the kernel can tell has its own. */
static __always_inline int find_place(struct task_struct *task, const struct caller *who,
				      const struct settings *now, struct flow *flow)
{
	__u64 certain;

	if (who->identity)
		account_of_identity(who->identity, &flow->account);
	if (has_room(&flow->account, now, 0, &flow->shared))
		return 0;
	if (who->identity)
		return -1;
	certain = certain_identities(task, who, now);
	if (!certain)
		return -1;
	account_of_identity(first_of(certain), &flow->account);
	return has_room(&flow->account, now, 0, &flow->shared) ? 0 : -1;
}

enum recorded {
	RECORDED,
	NO_BUDGET,
	NO_MEMORY,
};

/* Records who sends a connection to the injector, and where it was to go. */
static __always_inline enum recorded record(struct bpf_sock_addr *ctx, struct socket *known,
					    const struct target *t, const struct caller *who,
					    const struct settings *now)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket *state = state_of(ctx, known);

	if (!state)
		return NO_MEMORY;
	fill(ctx, &state->flow, t, who, now);
	if (!who->identity) {
		account_of_stranger(&state->flow, now->seed, &state->flow.account);
		if (track_image(who, &state->flow.account, now))
			return NO_BUDGET;
		identify_file(task->mm->exe_file->f_inode, &state->flow.file);
	}
	if (find_place(task, who, now, &state->flow))
		return NO_BUDGET;
	state->flow.kind = FLOW_REDIRECTED;
	return RECORDED;
}

/* The local API learns its caller. One that cannot be recorded needs the key. The
 * connection counts nowhere here: the local API's own bounds hold. */
static __always_inline enum recorded record_local(struct bpf_sock_addr *ctx, struct socket *known,
						  const struct target *t, const struct caller *who,
						  const struct settings *now)
{
	struct socket *state = state_of(ctx, known);
	struct account account;

	if (!state)
		return NO_MEMORY;
	fill(ctx, &state->flow, t, who, now);
	account_of_stranger(&state->flow, now->seed, &account);
	if (track_image(who, &account, now))
		return NO_BUDGET;
	state->flow.kind = FLOW_LOCAL_API;
	return RECORDED;
}

#endif
