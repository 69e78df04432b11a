//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* How what connect() recorded comes to the listener's end of the connection. The
 * connecting socket publishes its flow under all four of its addresses before the
 * SYN leaves; the socket that the listener makes of the handshake takes it into
 * its own storage and ends it there; if the connecting socket becomes CLOSE first,
 * it withdraws the flow. Four addresses alone do not name a connection: a socket
 * that is tied to a device, which needs no right, does not keep an untied one from
 * having the same four. So the flow carries the initial sequence number too, and
 * reaches the other end of its own connection, or nobody. */
#ifndef LANYARD_HANDSHAKE_H
#define LANYARD_HANDSHAKE_H

#include "include/abi.h"
#include "include/address.h"
#include "include/budget.h"
#include "maps/counters.h"
#include "maps/handshakes.h"
#include "maps/local_handshakes.h"
#include "maps/sockets.h"

static __always_inline void *handshakes_of(enum flow_kind kind)
{
	return kind == FLOW_LOCAL_API ? (void *)&local_handshakes : (void *)&handshakes;
}

static __always_inline void refund(const struct flow *flow)
{
	if (flow->account.budget)
		give_back(&flow->account, flow->shared);
}

/* What another socket left under the same four addresses can reach nobody any more:
 * its own end of the connection must not take ours, nor we take its. Its share is
 * given back by whoever deletes its flow, and so once. */
static __always_inline void displace(const struct socket *state)
{
	struct flow *other = bpf_map_lookup_elem(handshakes_of(state->flow.kind), &state->key);
	struct account account;
	__u32 shared;

	if (!other)
		return;
	account = other->account;
	shared = other->shared;
	if (!bpf_map_delete_elem(handshakes_of(state->flow.kind), &state->key) && account.budget)
		give_back(&account, shared);
}

static __always_inline int publish(const struct socket *state)
{
	void *waiting = handshakes_of(state->flow.kind);

	if (bpf_map_update_elem(waiting, &state->key, &state->flow, BPF_NOEXIST)) {
		displace(state);
		if (bpf_map_update_elem(waiting, &state->key, &state->flow, BPF_NOEXIST)) {
			count(COUNT_PUBLISH_FAILED);
			return -1;
		}
	}
	count(COUNT_PUBLISHED);
	return 0;
}

/* Whether this socket's own flow still waits for the other end. */
static __always_inline int is_waiting(const struct socket *state)
{
	struct flow *published = bpf_map_lookup_elem(handshakes_of(state->flow.kind), &state->key);

	return published && published->socket_cookie == state->flow.socket_cookie;
}

/* Takes back what nobody took. Of two that try, one deletes. */
static __always_inline void withdraw(struct socket *state)
{
	if (!(state->marks & SOCKET_PUBLISHED))
		return;
	state->marks &= ~SOCKET_PUBLISHED;
	if (!is_waiting(state) ||
	    bpf_map_delete_elem(handshakes_of(state->flow.kind), &state->key))
		return;
	refund(&state->flow);
	count(COUNT_WITHDRAWN);
}

/* Copies the flow of one handshake. The map may give its element to another flow
 * while it is read: that writes the number first, so that a copy between two looks at
 * the number is of one flow. */
static __always_inline int copy_flow(struct flow *to, const struct flow *from, __u32 isn)
{
	const volatile __u32 *number = &from->isn;

	if (*number != isn)
		return -1;
	asm volatile("" ::: "memory");
	*to = *from;
	asm volatile("" ::: "memory");
	return to->isn == isn && *number == isn ? 0 : -1;
}

/* Ends a flow that nobody will have. */
static __always_inline void discard(enum flow_kind kind, const struct flow_key *key, const struct flow *flow)
{
	struct account account = flow->account;
	__u32 shared = flow->shared;

	if (!bpf_map_delete_elem(handshakes_of(kind), key) && account.budget)
		give_back(&account, shared);
	count(COUNT_STATE_FAILED);
}

/* Moves the flow of a handshake that began with this number into the storage of the
 * accepted socket. */
static __always_inline void take(struct bpf_sock *child, const struct flow_key *key, __u32 isn)
{
	enum flow_kind kind = FLOW_REDIRECTED;
	struct flow *flow = bpf_map_lookup_elem(&handshakes, key);
	struct socket *state;

	if (!flow) {
		kind = FLOW_LOCAL_API;
		flow = bpf_map_lookup_elem(&local_handshakes, key);
	}
	if (!flow || flow->isn != isn)
		return;
	state = bpf_sk_storage_get(&sockets, child, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		discard(kind, key, flow);
		return;
	}
	if (copy_flow(&state->flow, flow, isn) || bpf_map_delete_elem(handshakes_of(kind), key)) {
		state->flow.kind = FLOW_NONE; /* withdrawn meanwhile */
		return;
	}
	state->key = *key;
	state->marks = SOCKET_ACCEPTED;
	count(COUNT_TAKEN);
}

#endif
