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
#include "maps/local_by_netns.h"
#include "maps/readiness_by_netns.h"
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

/* The ports of one kind of listeners. */
static __always_inline __u32 *ports_of(enum socket_mark kind, const struct readiness_key *where)
{
	struct local_listeners *own;
	struct readiness *ready;

	if (kind == SOCKET_LOCAL_API) {
		own = bpf_map_lookup_elem(&local_by_netns, where);
		return own ? own->ports : 0;
	}
	ready = bpf_map_lookup_elem(&readiness_by_netns, where);
	return ready ? ready->ports : 0;
}

/* Whether a socket has the four addresses already that this one would have if it were
 * connected to a port of loopback. A global function, for its stack. */
__attribute__((noinline)) __u32 is_taken(struct bpf_sock_addr *ctx, __u32 family, __u32 port)
{
	union words own = { .half = { 0, 0 } }, other = { .half = { 0, 0 } };
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = ctx->sk;
	__u32 size, taken;

	if (!sk)
		return 0;
	if (family == AF_INET) {
		own.word[3] = sk->src_ip4 ? sk->src_ip4 : LOOPBACK4;
		other.word[3] = LOOPBACK4;
	} else {
		own.word[0] = sk->src_ip6[0];
		own.word[1] = sk->src_ip6[1];
		own.word[2] = sk->src_ip6[2];
		own.word[3] = sk->src_ip6[3];
		if (!own.half[0] && !own.half[1])
			own.word[3] = LOOPBACK6_LAST;
		other.word[3] = LOOPBACK6_LAST;
	}
	size = tuple_of(&tuple, family, &own, sk->src_port, &other, port);
	sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	taken = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return taken;
}

/* How many listeners a stranger may come to: who holds source ports at many could keep
 * those away who are sent there. */
#define STRANGERS_CHOICE 2

/* A listener, its own if possible, to which a socket can be connected from the port that
 * it is bound to: a program may connect from one port to several servers, as long as
 * their addresses differ. A global function, for its stack. */
__attribute__((noinline)) __u32 free_listener(struct bpf_sock_addr *ctx, __u32 kind, __u32 family, __u32 own)
{
	struct readiness_key where = { .netns = bpf_get_netns_cookie(ctx), .family = family };
	__u32 first = own < IDENTITY_LISTENERS ? 0 : IDENTITY_LISTENERS, i, at;
	__u32 choice = first ? STRANGERS_CHOICE : IDENTITY_LISTENERS;
	__u32 *ports = ports_of(kind, &where);

	if (!ports)
		return own;
	for (i = 0; i < IDENTITY_LISTENERS; i++) {
		if (i >= choice)
			break;
		at = first + (own + i) % IDENTITY_LISTENERS;
		if (!is_taken(ctx, family, ports[at % LISTENERS]))
			return at;
	}
	return own;
}

#endif
