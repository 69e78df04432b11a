//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Recognising our own listeners: by the mark in the socket's storage, which only
 * the agent can write. The port alone proves nothing, since any process may bind
 * it in a namespace of its own or after the agent died. */
#ifndef LANYARD_LISTENER_H
#define LANYARD_LISTENER_H

#include "include/address.h"
#include "maps/sockets.h"

/* The mark of the listener at this address in the caller's namespace, or 0. */
static __always_inline __u32 listener_mark(struct bpf_sock_addr *ctx, const struct target *at)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	struct socket *state;
	__u32 size, mark = 0;

	if (at->family == AF_INET) {
		tuple.ipv4.saddr = at->to.word[3];
		tuple.ipv4.daddr = at->to.word[3];
		tuple.ipv4.dport = bpf_htons((__u16)at->port);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, at->to.word, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, at->to.word, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.dport = bpf_htons((__u16)at->port);
		size = sizeof(tuple.ipv6);
	}
	sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_LISTEN) {
		state = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (state)
			mark = state->marks & (SOCKET_INJECTOR | SOCKET_LOCAL_API);
	}
	bpf_sk_release(sk);
	return mark;
}

#endif
