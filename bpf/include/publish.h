//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Publication: what a socket's connect() recorded becomes visible to the agent
 * under the socket's own address. Only the socket that published a flow takes it
 * back, so a port that was given to another socket meanwhile harms nobody. */
#ifndef LANYARD_PUBLISH_H
#define LANYARD_PUBLISH_H

#include "include/abi.h"
#include "maps/counters.h"
#include "maps/flows.h"
#include "maps/heartbeat.h"
#include "maps/sockets.h"

static __always_inline void withdraw(struct socket *state)
{
	struct flow *published;

	if (!(state->marks & SOCKET_PUBLISHED))
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

/* A flow that somebody else left under this address belongs to a connection that
 * waits to be accepted, although its socket is gone: it is not overwritten, or
 * that connection would be taken for this one. Ours then finds no flow, and is
 * reset. */
static __always_inline int take_place(struct socket *state)
{
	struct flow *other;

	if (!bpf_map_update_elem(&flows, &state->key, &state->flow, BPF_NOEXIST))
		return 0;
	other = bpf_map_lookup_elem(&flows, &state->key);
	if (!other) {
		flows_are_full();
		return -1;
	}
	if (other->published + FLOW_LIFETIME_NS > state->flow.published) {
		count(COUNT_PUBLISH_CONFLICT);
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
