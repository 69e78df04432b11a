//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The path of one outbound TCP connection: who calls, whether any identity can
 * match, redirect to the injector, publication of what was seen. */
#include "include/abi.h"
#include "include/address.h"
#include "include/caller.h"
#include "include/listener.h"
#include "include/publish.h"
#include "maps/closed_prefixes.h"
#include "maps/counters.h"
#include "maps/images.h"
#include "maps/ports.h"
#include "maps/readiness_by_netns.h"
#include "maps/settings_now.h"
#include "maps/verdicts.h"
#include "maps/watched_prefixes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define REFUSE 0 /* connect() fails with EPERM */
#define ALLOW 1
#define IPPROTO_TCP 6

static __always_inline int is_watched(__u32 flags, const struct target *t)
{
	struct prefix_key key;

	if (flags & PORT_WATCHED)
		return 1;
	if (!(flags & PORT_NARROWED))
		return 0;
	prefix_of(&key, t);
	return bpf_map_lookup_elem(&watched_prefixes, &key) != 0;
}

/* agent_unavailable: a candidate may not reach a closed destination without its
 * token; everything else passes, without one. */
static __always_inline int without_agent(const struct target *t, enum counter why)
{
	struct prefix_key key;

	count(why);
	prefix_of(&key, t);
	if (bpf_map_lookup_elem(&closed_prefixes, &key)) {
		count(COUNT_REFUSED);
		return REFUSE;
	}
	count(COUNT_PASSED);
	return ALLOW;
}

static __always_inline int is_verdict_bystander(const struct caller *who, __u64 generation)
{
	struct verdict_key key = {
		.image = who->image,
		.cgroup = who->cgroup,
		.generation = generation,
		.tgid = who->tgid,
		.uid = who->uid,
		.gid = who->gid,
	};
	enum verdict *verdict = bpf_map_lookup_elem(&verdicts, &key);

	return verdict && *verdict == VERDICT_BYSTANDER;
}

static __always_inline int track_image(const struct caller *who)
{
	struct image *known = bpf_map_lookup_elem(&images, &who->tgid);

	if (known && known->start_time == who->image.start_time &&
	    known->exec_id == who->image.exec_id)
		return 0;
	return (int)bpf_map_update_elem(&images, &who->tgid, &who->image, BPF_ANY);
}

static __always_inline struct socket *new_state(struct bpf_sock_addr *ctx)
{
	struct socket *state;

	if (!ctx->sk)
		return 0;
	state = bpf_sk_storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state)
		__builtin_memset(state, 0, sizeof(*state));
	return state;
}

static __always_inline int record(struct bpf_sock_addr *ctx, const struct target *t,
				  const struct caller *who, __u64 generation, enum flow_kind kind)
{
	struct socket *state = new_state(ctx);

	if (!state || track_image(who))
		return -1;
	state->flow.socket_cookie = bpf_get_socket_cookie(ctx);
	state->flow.image = who->image;
	state->flow.cgroup = who->cgroup;
	state->flow.netns = bpf_get_netns_cookie(ctx);
	state->flow.generation = generation;
	state->flow.original = t->to.address;
	state->flow.original_port = t->port;
	state->flow.tgid = who->tgid;
	state->flow.uid = who->uid;
	state->flow.gid = who->gid;
	state->flow.kind = kind;
	return 0;
}

/* A connection to one of our own listeners. The local API learns its caller; to
 * the injector nobody is sent but by us. Whoever comes by himself, or cannot be
 * recorded, must not find a flow that an earlier socket left under the same
 * address. */
static __always_inline int to_our_listener(struct bpf_sock_addr *ctx, const struct target *t,
					   const struct settings *now, __u32 mark)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct caller who;
	struct socket *state;

	if (mark & SOCKET_LOCAL_API) {
		count(COUNT_LOCAL_API);
		identify_caller(task, &who);
		if (!record(ctx, t, &who, now->generation, FLOW_LOCAL_API))
			return ALLOW;
		count(COUNT_STATE_FAILED);
	} else {
		count(COUNT_DIRECT);
	}
	state = new_state(ctx);
	if (!state)
		return REFUSE;
	state->flow.netns = bpf_get_netns_cookie(ctx);
	state->marks = SOCKET_DIRECT;
	return ALLOW;
}

static __always_inline int agent_is_alive(void)
{
	__u32 beat = 0;
	__u64 *last = bpf_map_lookup_elem(&heartbeat, &beat);

	return last && bpf_ktime_get_ns() < *last + HEARTBEAT_LIMIT_NS;
}

static __always_inline int flows_full(void)
{
	__u32 full = 1;
	__u64 *until = bpf_map_lookup_elem(&heartbeat, &full);

	return until && *until && bpf_ktime_get_ns() < *until;
}

static __always_inline void loopback_listener(struct target *listener, __u32 family, __u32 port)
{
	__builtin_memset(listener, 0, sizeof(*listener));
	if (family == AF_INET) {
		listener->to.word[2] = MAPPED_PREFIX;
		listener->to.word[3] = LOOPBACK4;
	} else {
		listener->to.word[3] = LOOPBACK6_LAST;
	}
	listener->family = family;
	listener->port = port;
}

/* Writes the listener's address over the caller's. user_ip4 exists for connect4
 * only, user_ip6 for connect6 only: the verifier must see which. */
#define REWRITE4(ctx, listener) \
	do { \
		(ctx)->user_ip4 = (listener).to.word[3]; \
		(ctx)->user_port = bpf_htons((__u16)(listener).port); \
	} while (0)

#define REWRITE6(ctx, words, port) \
	do { \
		(ctx)->user_ip6[0] = (words)[0]; \
		(ctx)->user_ip6[1] = (words)[1]; \
		(ctx)->user_ip6[2] = (words)[2]; \
		(ctx)->user_ip6[3] = (words)[3]; \
		(ctx)->user_port = bpf_htons((__u16)(port)); \
	} while (0)

/* Decides on one connect(). Where the answer is to redirect, *listener holds the
 * injector's address and its port is not 0. */
static __always_inline int on_connect(struct bpf_sock_addr *ctx, const struct target *t,
				      struct target *listener)
{
	struct readiness_key where = {};
	struct readiness *ready;
	struct port_rule *rule;
	struct settings *now;
	struct task_struct *task;
	struct socket *state = 0;
	struct caller who;
	__u32 zero = 0, mark;

	listener->port = 0;
	if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM || !ctx->sk)
		return ALLOW;
	state = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);
	if (state) {
		if (state->marks & SOCKET_EXEMPT) {
			count(COUNT_EXEMPT);
			return ALLOW;
		}
		/* A socket whose first connect() failed may go elsewhere now. */
		withdraw(state);
		__builtin_memset(state, 0, sizeof(*state));
	}
	rule = bpf_map_lookup_elem(&ports, &t->port);
	if (!rule || !rule->flags)
		return ALLOW;
	now = bpf_map_lookup_elem(&settings_now, &zero);
	if (!now)
		return ALLOW;
	if (rule->flags & PORT_OURS) {
		mark = listener_mark(ctx, t);
		if (mark)
			return to_our_listener(ctx, t, now, mark);
	}
	if (!is_watched(rule->flags, t))
		return ALLOW;
	count(COUNT_WATCHED);

	task = bpf_get_current_task_btf();
	if (!task->mm) {
		count(COUNT_KERNEL_THREAD);
		return ALLOW;
	}
	identify_caller(task, &who);
	if (who.tgid == now->agent_tgid && who.image.start_time == now->agent_image.start_time &&
	    who.image.exec_id == now->agent_image.exec_id) {
		count(COUNT_EXEMPT);
		return ALLOW;
	}
	if (!possible_identities(task, &who, now)) {
		count(COUNT_BYSTANDER);
		return ALLOW;
	}
	if (is_verdict_bystander(&who, now->generation)) {
		count(COUNT_BYSTANDER_CACHED);
		return ALLOW;
	}
	count(COUNT_CANDIDATE);

	/* Loopback cannot be reached from a socket tied to a device or VRF. A
	 * link-local address means nothing without its device, which is not seen
	 * here. */
	if (ctx->sk->bound_dev_if || is_link_local(t))
		return without_agent(t, COUNT_BOUND_DEVICE);
	where.netns = bpf_get_netns_cookie(ctx);
	where.family = t->family;
	ready = bpf_map_lookup_elem(&readiness_by_netns, &where);
	if (!ready)
		return without_agent(t, COUNT_NO_LISTENER);
	if (!agent_is_alive())
		return without_agent(t, COUNT_HEARTBEAT_STALE);
	if (flows_full())
		return without_agent(t, COUNT_FLOWS_FULL);
	if (!ready->routable && !is_loopback(t)) {
		count(COUNT_NO_ROUTE);
		return ALLOW;
	}
	loopback_listener(listener, t->family, ready->port);
	mark = listener_mark(ctx, listener);
	if (!(mark & SOCKET_INJECTOR)) {
		listener->port = 0;
		return without_agent(t, COUNT_NO_LISTENER);
	}
	if (record(ctx, t, &who, now->generation, FLOW_REDIRECTED)) {
		listener->port = 0;
		return without_agent(t, COUNT_STATE_FAILED);
	}
	count(COUNT_REDIRECTED);
	return ALLOW;
}

SEC("cgroup/connect4")
int lanyard_connect4(struct bpf_sock_addr *ctx)
{
	struct target to, listener;
	int answer;

	target4(&to, ctx->user_ip4, ctx->user_port);
	answer = on_connect(ctx, &to, &listener);
	if (listener.port)
		REWRITE4(ctx, listener);
	return answer;
}

SEC("cgroup/connect6")
int lanyard_connect6(struct bpf_sock_addr *ctx)
{
	struct target to, listener;
	int answer;

	target6(&to, ctx);
	answer = on_connect(ctx, &to, &listener);
	if (listener.port)
		REWRITE6(ctx, listener.to.word, listener.port);
	return answer;
}

static __always_inline struct socket *redirected(struct bpf_sock_addr *ctx)
{
	struct socket *state;

	if (!ctx->sk)
		return 0;
	state = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);
	return state && state->flow.kind == FLOW_REDIRECTED ? state : 0;
}

/* A program that asks where it is connected hears where it wanted to be. */
SEC("cgroup/getpeername4")
int lanyard_getpeername4(struct bpf_sock_addr *ctx)
{
	struct socket *state = redirected(ctx);
	union words to;

	if (!state)
		return ALLOW;
	to.address = state->flow.original;
	ctx->user_ip4 = to.word[3];
	ctx->user_port = bpf_htons((__u16)state->flow.original_port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int lanyard_getpeername6(struct bpf_sock_addr *ctx)
{
	struct socket *state = redirected(ctx);
	union words to;

	if (!state)
		return ALLOW;
	to.address = state->flow.original;
	REWRITE6(ctx, to.word, state->flow.original_port);
	return ALLOW;
}

/* Reads a context field here and nowhere else: the compiler likes to fold two
 * reads in two branches into one at a computed offset, which the verifier
 * refuses. */
#define CONTEXT(field) (*(volatile __u32 *)&(field))

static __always_inline void local_end(struct bpf_sock_ops *ctx, struct flow_key *key)
{
	union words local;
	__u32 ip4 = CONTEXT(ctx->local_ip4);

	local.word[0] = CONTEXT(ctx->local_ip6[0]);
	local.word[1] = CONTEXT(ctx->local_ip6[1]);
	local.word[2] = CONTEXT(ctx->local_ip6[2]);
	local.word[3] = CONTEXT(ctx->local_ip6[3]);
	if (ctx->family == AF_INET) {
		local.word[0] = 0;
		local.word[1] = 0;
		local.word[2] = MAPPED_PREFIX;
		local.word[3] = ip4;
	}
	key->local = local.address;
	key->port = ctx->local_port;
}

/* The source port exists here, and the SYN is not sent yet: what is published
 * now stands before the injector's accept can return. */
static __always_inline void on_tcp_connect(struct bpf_sock_ops *ctx, struct socket *state)
{
	state->key.netns = state->flow.netns;
	local_end(ctx, &state->key);
	if (state->flow.kind)
		publish(state);
	else if (state->marks & SOCKET_DIRECT && bpf_map_lookup_elem(&flows, &state->key))
		dispute(&state->key);
}

SEC("sockops")
int lanyard_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;
	struct socket *state;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB &&
	    ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return ALLOW;
	sk = ctx->sk;
	if (!sk)
		return ALLOW;
	state = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!state)
		return ALLOW;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		on_tcp_connect(ctx, state);
	else
		state->marks |= SOCKET_ESTABLISHED;
	return ALLOW;
}

/* What never reached ESTABLISHED is accepted by nobody. */
SEC("cgroup/sock_release")
int lanyard_sock_release(struct bpf_sock *sk)
{
	struct socket *state = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (state && !(state->marks & SOCKET_ESTABLISHED))
		withdraw(state);
	return ALLOW;
}
