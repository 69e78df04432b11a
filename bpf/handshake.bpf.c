//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The handshake of a connection to one of our listeners: the flow passes from the
 * connecting socket to the accepted one, and what has none is turned away. */
#include "include/abi.h"
#include "include/address.h"
#include "include/caller.h"
#include "include/handshake.h"
#include "maps/local_by_netns.h"
#include "maps/ports.h"
#include "maps/settings_now.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define OK 1

/* Reads a context field here and nowhere else: the compiler likes to fold two
 * reads in two branches into one at a computed offset, which the verifier
 * refuses. */
#define CONTEXT(field) (*(volatile __u32 *)&(field))

static __always_inline void mapped(union words *a, __u32 ip4)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = MAPPED_PREFIX;
	a->word[3] = ip4;
}

static __always_inline void local_address(struct bpf_sock_ops *ctx, struct address *address)
{
	union words a;
	__u32 ip4 = CONTEXT(ctx->local_ip4);

	a.word[0] = CONTEXT(ctx->local_ip6[0]);
	a.word[1] = CONTEXT(ctx->local_ip6[1]);
	a.word[2] = CONTEXT(ctx->local_ip6[2]);
	a.word[3] = CONTEXT(ctx->local_ip6[3]);
	if (ctx->family == AF_INET)
		mapped(&a, ip4);
	*address = a.address;
}

static __always_inline void remote_address(struct bpf_sock_ops *ctx, struct address *address)
{
	union words a;
	__u32 ip4 = CONTEXT(ctx->remote_ip4);

	a.word[0] = CONTEXT(ctx->remote_ip6[0]);
	a.word[1] = CONTEXT(ctx->remote_ip6[1]);
	a.word[2] = CONTEXT(ctx->remote_ip6[2]);
	a.word[3] = CONTEXT(ctx->remote_ip6[3]);
	if (ctx->family == AF_INET)
		mapped(&a, ip4);
	*address = a.address;
}

/* There was room when connect() was called; with Fast Open that can be long ago. */
static __always_inline int take_place(struct flow *flow)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);

	if (!now || !has_room(&flow->account, now, now->slack, &flow->shared)) {
		count(COUNT_BUDGET);
		return 0;
	}
	occupy(&flow->account, flow->shared);
	return 1;
}

/* The source port exists here, and the SYN is not sent yet: what is published
 * now stands before the listener can see anything of the connection. */
static __always_inline void on_tcp_connect(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct socket *state)
{
	struct tcp_sock *tcp;

	/* Tied to a device, it could have its addresses beside another. */
	if (!state->flow.kind || state->marks & (SOCKET_ACCEPTED | SOCKET_TIED) || sk->bound_dev_if)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	state->flow.isn = tcp->write_seq;
	state->key.netns = state->flow.netns;
	local_address(ctx, &state->key.local);
	remote_address(ctx, &state->key.remote);
	state->key.local_port = ctx->local_port;
	state->key.remote_port = bpf_ntohl(ctx->remote_port);
	if (state->flow.account.budget && !take_place(&state->flow))
		return;
	/* Without it the flow could not be withdrawn, and must not be published. */
	if (bpf_sock_ops_cb_flags_set(ctx, (int)(ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG)) ||
	    publish(state)) {
		refund(&state->flow);
		return;
	}
	state->marks |= SOCKET_PUBLISHED;
}

/* CLOSE is when the addresses become free. A close(2) is not: where the queue of
 * the listener was full, the handshake may be completed after it. */
static __always_inline void on_state(struct bpf_sock_ops *ctx, struct socket *state)
{
	__u32 next = ctx->args[1];

	if (!(state->marks & SOCKET_PUBLISHED) || next == BPF_TCP_ESTABLISHED)
		return;
	if (next == BPF_TCP_CLOSE) {
		withdraw(state);
		return;
	}
	if (is_waiting(state))
		return;
	state->marks &= ~SOCKET_PUBLISHED;
	bpf_sock_ops_cb_flags_set(ctx, (int)(ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_STATE_CB_FLAG));
}

static __always_inline int is_our_port(__u32 port)
{
	struct port_rule *rule = bpf_map_lookup_elem(&ports, &port);

	return rule && rule->flags & PORT_OURS;
}

/* accept(2) takes the lock of the socket under which this runs, so that it returns
 * afterwards. */
static __always_inline void on_accepted(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct flow_key key;

	if (!is_our_port(ctx->local_port))
		return;
	key.netns = bpf_get_netns_cookie(ctx);
	remote_address(ctx, &key.local);
	local_address(ctx, &key.remote);
	key.local_port = bpf_ntohl(ctx->remote_port);
	key.remote_port = ctx->local_port;
	take(sk, &key, ctx->rcv_nxt - 1);
}

SEC("sockops")
int lanyard_sockops(struct bpf_sock_ops *ctx)
{
	__u32 op = ctx->op;
	struct bpf_sock *sk;
	struct socket *state;

	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_STATE_CB &&
	    op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return OK;
	sk = ctx->sk;
	if (!sk)
		return OK;
	if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		on_accepted(ctx, sk);
		return OK;
	}
	state = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!state)
		return OK;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		on_tcp_connect(ctx, sk, state);
	else
		on_state(ctx, state);
	return OK;
}

#define SOL_SOCKET 1
#define SO_BINDTODEVICE 25
#define SO_BINDTOIFINDEX 62
#define SOL_TCP 6
#define TCP_FASTOPEN_CONNECT 30
#define SHOWN_WHOLE 4096 /* of an option's value; the smallest page */

#define HANDLED -1 /* as a length: the kernel does nothing, and setsockopt() succeeds */

#define REFUSE 0 /* setsockopt() fails with EPERM */

static __always_inline int may_have_identity(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings_now, &zero);
	struct caller who;

	if (!now || !task->mm)
		return 0;
	identify_caller(task, &who);
	return possible_identities(task, &who, now) != 0;
}

static __always_inline int is_stream(const struct bpf_sock *sk, __u32 protocol)
{
	return sk->type == SOCK_STREAM && sk->protocol == protocol;
}

/* With TCP_FASTOPEN_CONNECT the SYN leaves when data is sent first, which can be long
 * after connect() was redirected: when the share is used up, or the agent is another,
 * and whoever took its former port would have the request. A client that has no cookie
 * yet finds the same. */
static __always_inline int defers_the_handshake(const struct bpf_sockopt *ctx, const struct bpf_sock *sk)
{
	return ctx->level == SOL_TCP && ctx->optname == TCP_FASTOPEN_CONNECT &&
	       (is_stream(sk, IPPROTO_TCP) || is_stream(sk, IPPROTO_MPTCP)) && may_have_identity();
}

/* Whether the option's value takes a device away: an empty name, or index 0. */
static __always_inline int unties(const struct bpf_sockopt *ctx, __s32 length)
{
	const __u8 *value = ctx->optval;

	if (length < 0 || length > SHOWN_WHOLE)
		return 0;
	if (ctx->optname == SO_BINDTODEVICE)
		return length == 0 || (value + 1 <= (const __u8 *)ctx->optval_end && !value[0]);
	return value + sizeof(__u32) <= (const __u8 *)ctx->optval_end && !*(const __u32 *)value;
}

/* A socket that was redirected cannot be tied to a device until it is closed: then
 * another could have the same four addresses, and the kernel would take segments of
 * the one for the other's. The kernel lets go of the socket's lock between this
 * program and the tie, and another thread's connect() fits in between: the mark, which
 * is set under the lock, tells that to the hook there. It stays when the tie is taken
 * away, as another thread's may still be under way. */
static __always_inline int on_tie(const struct bpf_sockopt *ctx, struct bpf_sock *sk, __s32 length)
{
	struct socket *state = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (state && state->flow.kind && sk->state != BPF_TCP_CLOSE)
		return REFUSE;
	if (!is_stream(sk, IPPROTO_TCP) || unties(ctx, length))
		return OK;
	if (!state)
		state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return REFUSE;
	state->marks |= SOCKET_TIED;
	return OK;
}

SEC("cgroup/setsockopt")
int lanyard_setsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__s32 length = ctx->optlen;

	if (length > SHOWN_WHOLE)
		ctx->optlen = 0; /* the kernel takes the caller's own value, of any length */
	if (!sk)
		return OK;
	if (defers_the_handshake(ctx, sk))
		ctx->optlen = HANDLED;
	else if (ctx->level == SOL_SOCKET &&
		 (ctx->optname == SO_BINDTODEVICE || ctx->optname == SO_BINDTOIFINDEX))
		return on_tie(ctx, sk, length);
	return OK;
}

/* The namespace that this program looks after, by its cookie; the ports of its
 * injector by family, in host byte order, 0 for none. Set before it is loaded: these
 * programs cannot ask. */
volatile const __u64 netns;
volatile const __u32 injector4[LISTENERS];
volatile const __u32 injector6[LISTENERS];

static __always_inline int is_injector(__u32 family, __u32 port)
{
	int i;

	for (i = 0; i < LISTENERS; i++)
		if (port == (family == AF_INET ? injector4[i] : injector6[i]))
			return 1;
	return 0;
}

static __always_inline int is_local_listener(__u32 family, __u32 port)
{
	struct readiness_key where = { .netns = netns, .family = family };
	struct local_listeners *own = bpf_map_lookup_elem(&local_by_netns, &where);
	int i;

	if (!own)
		return 0;
	for (i = 0; i < LISTENERS; i++)
		if (port == own->ports[i])
			return 1;
	return 0;
}

/* Where our listeners stand; another's may have their ports on another address. */
static __always_inline int is_to_loopback(struct bpf_sk_lookup *ctx)
{
	if (CONTEXT(ctx->family) == AF_INET)
		return CONTEXT(ctx->local_ip4) == LOOPBACK4;
	return !CONTEXT(ctx->local_ip6[0]) && !CONTEXT(ctx->local_ip6[1]) &&
	       !CONTEXT(ctx->local_ip6[2]) && CONTEXT(ctx->local_ip6[3]) == LOOPBACK6_LAST;
}

static __always_inline void lookup_key(struct bpf_sk_lookup *ctx, struct flow_key *key)
{
	union words local, remote;
	__u32 local4 = CONTEXT(ctx->local_ip4), remote4 = CONTEXT(ctx->remote_ip4);

	local.word[0] = CONTEXT(ctx->local_ip6[0]);
	local.word[1] = CONTEXT(ctx->local_ip6[1]);
	local.word[2] = CONTEXT(ctx->local_ip6[2]);
	local.word[3] = CONTEXT(ctx->local_ip6[3]);
	remote.word[0] = CONTEXT(ctx->remote_ip6[0]);
	remote.word[1] = CONTEXT(ctx->remote_ip6[1]);
	remote.word[2] = CONTEXT(ctx->remote_ip6[2]);
	remote.word[3] = CONTEXT(ctx->remote_ip6[3]);
	if (CONTEXT(ctx->family) == AF_INET) {
		mapped(&local, local4);
		mapped(&remote, remote4);
	}
	key->netns = netns;
	key->local = remote.address;
	key->remote = local.address;
	key->local_port = bpf_ntohs((__u16)ctx->remote_port);
	key->remote_port = ctx->local_port;
}

/* Whether a connection has a flow that waits for it, among those of its listener's kind;
 * -1 where the listener is none that only we send connections to. */
static __always_inline int is_awaited(struct bpf_sk_lookup *ctx)
{
	__u32 family = CONTEXT(ctx->family), port = ctx->local_port;
	struct flow_key key;

	if (is_injector(family, port)) {
		lookup_key(ctx, &key);
		return bpf_map_lookup_elem(&handshakes, &key) != 0;
	}
	if (is_local_listener(family, port)) {
		lookup_key(ctx, &key);
		return bpf_map_lookup_elem(&local_handshakes, &key) != 0;
	}
	return -1;
}

/* A SYN for a listener that we send connections to, and that no flow stands behind, is
 * answered with a reset, as if nobody listened. Look-ups of our own ask with remote
 * port 0. */
SEC("sk_lookup")
int lanyard_direct(struct bpf_sk_lookup *ctx)
{
	struct settings *now;
	__u32 zero = 0;

	if (ctx->protocol != IPPROTO_TCP || !ctx->remote_port || !is_to_loopback(ctx) ||
	    !is_our_port(ctx->local_port) || is_awaited(ctx))
		return SK_PASS;
	now = bpf_map_lookup_elem(&settings_now, &zero);
	if (now && now->flags & DIRECT_ALLOWED)
		return SK_PASS;
	count(COUNT_DIRECT);
	return SK_DROP;
}
