//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Our own listeners: which of the injector's a caller is sent to, and how they are
 * recognised: by the mark in the socket's storage, which only the agent can write. The
 * port alone proves nothing, since any process may bind it in a namespace of its own or
 * after the agent died. */
#ifndef LANYARD_LISTENER_H
#define LANYARD_LISTENER_H

#include "include/address.h"
#include "include/caller.h"
#include "maps/settings_now.h"
#include "maps/sockets.h"

/* Puts the ends of a connection, as a socket at its own end sees them, into a tuple. */
static __always_inline __u32 tuple_of(struct bpf_sock_tuple *tuple, __u32 family, const union words *own,
				      __u32 own_port, const union words *other, __u32 other_port)
{
	if (family == AF_INET) {
		tuple->ipv4.saddr = other->word[3];
		tuple->ipv4.daddr = own->word[3];
		tuple->ipv4.sport = bpf_htons((__u16)other_port);
		tuple->ipv4.dport = bpf_htons((__u16)own_port);
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, other->word, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, own->word, sizeof(tuple->ipv6.daddr));
	tuple->ipv6.sport = bpf_htons((__u16)other_port);
	tuple->ipv6.dport = bpf_htons((__u16)own_port);
	return sizeof(tuple->ipv6);
}

/* The mark of the listener at an address, whose halves these are, in the caller's
 * namespace, or 0. A global function, for its stack. */
__attribute__((noinline)) __u32 mark_at(struct bpf_sock_addr *ctx, __u64 first, __u64 last, __u32 family,
				     __u32 port)
{
	union words at = { .half = { first, last } };
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	struct socket *state;
	__u32 size = tuple_of(&tuple, family, &at, port, &at, 0), mark = 0;

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

static __always_inline __u32 listener_mark(struct bpf_sock_addr *ctx, const struct target *at)
{
	return mark_at(ctx, at->to.half[0], at->to.half[1], at->family, at->port);
}

/* Which of the injector's listeners somebody unknown is sent to. A global function, for
 * its stack. */
__attribute__((noinline)) __u32 listener_of_unknown(__u64 place, __u64 by_cgroup, __u32 uid, __u32 gid)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);
	__u64 certain = certain_in_cgroup(uid, gid, by_cgroup);

	if (!now)
		return IDENTITY_LISTENERS;
	if (certain)
		return (first_of(certain) - 1) % IDENTITY_LISTENERS;
	return IDENTITY_LISTENERS +
	       (__u32)(hash_of_place(place, now->seed) % (LISTENERS - IDENTITY_LISTENERS));
}

/* Whoever shares a listener's address can find out which source ports the kernel gives
 * out for it, and have half-open connections from there that keep others from being
 * made. So identities have listeners where no stranger comes, and a stranger meets only
 * those of its own place, and of the few places that a hash puts beside it. */
static __always_inline __u32 listener_of(const struct caller *who, const struct settings *now)
{
	struct cgroup_facts *where;

	if (who->identity)
		return (who->identity - 1) % IDENTITY_LISTENERS;
	where = cgroup_facts(bpf_get_current_task_btf(), now);
	return listener_of_unknown(where ? where->party : 0, where ? where->certain : 0, who->uid, who->gid);
}

#endif
