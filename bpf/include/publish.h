//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Publication: what a socket's connect() recorded becomes visible to the agent
 * under the socket's own address. The agent claims flows in the order in which it
 * accepts connections. A flow may be found by its own connection only, also when
 * the port is given to another socket before that is accepted: so only the
 * socket that published a flow takes it back, nothing is ever overwritten that
 * may still be claimed, and an address that two sockets laid claim to within that
 * time is good for neither. */
#ifndef LANYARD_PUBLISH_H
#define LANYARD_PUBLISH_H

#include "include/abi.h"
#include "maps/counters.h"
#include "maps/disputes.h"
#include "maps/flows.h"
#include "maps/heartbeat.h"
#include "maps/sockets.h"

/* Once ESTABLISHED, the connection waits to be accepted whatever becomes of its
 * socket, and must find its own flow: that is not taken back any more. */
static __always_inline void withdraw(struct socket *state)
{
	struct flow *published;

	if (!(state->marks & SOCKET_PUBLISHED) || (state->marks & SOCKET_ESTABLISHED))
		return;
	state->marks &= ~SOCKET_PUBLISHED;
	published = bpf_map_lookup_elem(&flows, &state->key);
	if (published && published->socket_cookie == state->flow.socket_cookie)
		bpf_map_delete_elem(&flows, &state->key);
}

static __always_inline void flows_are_full(void)
{
	__u32 full = 1;
	__u64 *until = bpf_map_lookup_elem(&heartbeat, &full);

	if (until)
		*until = bpf_ktime_get_ns() + FLOWS_FULL_NS;
	count(COUNT_PUBLISH_FAILED);
}

/* A flow that another connection left under this address: that connection may
 * wait to be accepted although its socket is gone, or may never come to be
 * accepted. Overwritten, it would be taken for ours; left there, ours might be
 * taken for it. So neither has a flow, nor has any third until the lifetime is
 * over: they are reset. */
static __always_inline void dispute(const struct flow_key *key)
{
	__u64 now = bpf_ktime_get_boot_ns();

	bpf_map_update_elem(&disputes, key, &now, BPF_ANY);
	bpf_map_delete_elem(&flows, key);
	count(COUNT_PUBLISH_CONFLICT);
}

static __always_inline int is_disputed(const struct flow_key *key, __u64 now)
{
	__u64 *since = bpf_map_lookup_elem(&disputes, key);

	return since && now < *since + FLOW_LIFETIME_NS;
}

static __always_inline int take_place(struct socket *state)
{
	struct flow *other;

	if (is_disputed(&state->key, state->flow.published)) {
		dispute(&state->key);
		return -1;
	}
	if (!bpf_map_update_elem(&flows, &state->key, &state->flow, BPF_NOEXIST))
		return 0;
	other = bpf_map_lookup_elem(&flows, &state->key);
	if (!other) {
		flows_are_full();
		return -1;
	}
	if (other->published + FLOW_LIFETIME_NS > state->flow.published) {
		dispute(&state->key);
		return -1;
	}
	return (int)bpf_map_update_elem(&flows, &state->key, &state->flow, BPF_ANY);
}

static __always_inline void publish(struct socket *state)
{
	state->flow.published = bpf_ktime_get_boot_ns();
	if (take_place(state))
		return;
	state->marks |= SOCKET_PUBLISHED;
	count(COUNT_PUBLISHED);
}

#endif
