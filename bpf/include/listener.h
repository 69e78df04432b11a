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

/* Which of the injector's listeners somebody unknown is sent to. A global function, for
 * its stack. */
__attribute__((noinline)) __u32 listener_of_unknown(__u64 place, __u64 by_cgroup, __u32 uid, __u32 gid)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);
	__u64 certain;

	if (!now || !task->mm)
		return IDENTITY_LISTENERS;
	certain = certain_in_cgroup(task, uid, gid, by_cgroup, now);
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
