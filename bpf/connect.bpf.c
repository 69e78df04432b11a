//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The path of one outbound TCP connection: who calls, whether any identity can
 * match, redirect to the injector. What was seen reaches the injector's end of the
 * connection by handshake.bpf.c. */
#include "include/abi.h"
#include "include/address.h"
#include "include/caller.h"
#include "include/handshake.h"
#include "include/listener.h"
#include "include/record.h"
#include "maps/closed_prefixes.h"
#include "maps/counters.h"
#include "maps/heartbeat.h"
#include "maps/local_by_netns.h"
#include "maps/ports.h"
#include "maps/readiness_by_netns.h"
#include "maps/settings_now.h"
#include "maps/source_addresses.h"
#include "maps/verdicts.h"
#include "maps/watched_prefixes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define REFUSE 0 /* connect() fails: see refuse() */
#define ALLOW 1

#define ECONNREFUSED 111

/* Whether connect hooks may name the error of a connect() that they refuse, which came
 * with about Linux 6.1. Set before the programs are loaded: the verifier then never sees
 * the helper where the kernel lacks it. */
volatile const __u32 names_errors;

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

/* Whether the socket is tied to a device or VRF, or setsockopt() is about to tie it. */
static __always_inline int is_tied(struct bpf_sock_addr *ctx, const struct socket *state)
{
	return ctx->sk->bound_dev_if || (state && state->marks & SOCKET_TIED);
}

/* Fails connect() with ECONNREFUSED, which every program knows from a server that is
 * away. A kernel that lets no hook name the error fails it with EPERM, which none expects
 * of connect(): there it goes to port 0 of loopback, where nobody can listen, and the
 * kernel itself refuses. A socket that is tied to a device cannot get there. */
static __always_inline int refuse(struct bpf_sock_addr *ctx, const struct socket *state,
				  const struct target *t, struct target *instead)
{
	if (names_errors) {
		bpf_set_retval(-ECONNREFUSED);
		return REFUSE;
	}
	if (is_tied(ctx, state))
		return REFUSE;
	loopback_listener(instead, t->family, 0);
	return ALLOW;
}

static __always_inline int refuses_unknown(const struct closed *closed, __u64 netns, __u64 home)
{
	return closed->unknown == UNKNOWN_REFUSED ||
	       (closed->unknown == UNKNOWN_REFUSED_ELSEWHERE && netns != home);
}

/* agent_unavailable: an identity may not reach a closed destination without its
 * token. Who only might be one passes, unless the destination says otherwise. */
static __always_inline int without_agent(struct bpf_sock_addr *ctx, const struct socket *state,
					 const struct target *t, const struct caller *who,
					 const struct settings *now, struct target *instead,
					 enum counter why)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct prefix_key key;
	struct closed *closed;
	__u64 identities = 0;

	instead->family = 0;
	count(why);
	prefix_of(&key, t);
	closed = bpf_map_lookup_elem(&closed_prefixes, &key);
	if (who->identity)
		identities = 1ULL << ((who->identity - 1) & 63);
	if (!closed || !((who->identity ? identities : who->possible) & closed->identities)) {
		count(COUNT_PASSED);
		return ALLOW;
	}
	identities &= ~now->several;
	if ((identities | certain_identities(task, who, now)) & closed->identities) {
		count(COUNT_REFUSED);
		return refuse(ctx, state, t, instead);
	}
	/* While a reload is under way nobody is known not to match. */
	if (!(now->flags & ALL_CANDIDATES) &&
	    refuses_unknown(closed, bpf_get_netns_cookie(ctx), now->home_netns)) {
		count(COUNT_REFUSED_UNKNOWN);
		return refuse(ctx, state, t, instead);
	}
	count(COUNT_PASSED_UNKNOWN);
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

/* A caller of the local API goes to that of its listeners where none comes who may keep
 * it away. *listener has family 0 where it stays at the address that it asked for. */
static __always_inline void to_local_api(struct bpf_sock_addr *ctx, struct socket *state,
					 const struct target *t, struct caller *who,
					 const struct settings *now, struct target *listener)
{
	struct readiness_key where = {};
	struct local_listeners *own;
	__u32 at;

	count(COUNT_LOCAL_API);
	if (record_local(ctx, state, t, who, now) != RECORDED) {
		count(COUNT_STATE_FAILED);
		return;
	}
	if (is_tied(ctx, state)) /* whose flow is not published: the others would not let it in */
		return;
	where.netns = bpf_get_netns_cookie(ctx);
	where.family = t->family;
	own = bpf_map_lookup_elem(&local_by_netns, &where);
	if (!own)
		return;
	recall_identity(who, now->generation);
	at = listener_of(who, now);
	if (ctx->sk->src_port)
		at = free_listener(ctx, SOCKET_LOCAL_API, t->family, at);
	loopback_listener(listener, t->family, own->ports[at % LISTENERS]);
	if (!(listener_mark(ctx, listener) & SOCKET_LOCAL_API))
		listener->family = 0;
}

/* A connection to one of our own listeners. To the injector nobody is sent but by
 * us; whoever comes by itself is refused before it costs user space anything. */
static __always_inline int to_our_listener(struct bpf_sock_addr *ctx, struct socket *state,
					   const struct target *t, struct caller *who,
					   const struct settings *now, __u32 mark,
					   struct target *listener)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (mark & SOCKET_LOCAL_API) {
		if (task->mm) {
			identify_caller(task, who);
			to_local_api(ctx, state, t, who, now, listener);
		}
		return ALLOW;
	}
	count(COUNT_DIRECT);
	return now->flags & DIRECT_ALLOWED ? ALLOW : refuse(ctx, state, t, listener);
}

static __always_inline int agent_is_alive(void)
{
	__u32 beat = 0;
	__u64 *last = bpf_map_lookup_elem(&heartbeat, &beat);

	return last && bpf_ktime_get_ns() < *last + HEARTBEAT_LIMIT_NS;
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

/* What the agent left on a socket of its own, or an earlier connect() on any. A
 * socket whose first connect() failed may go elsewhere now. */
static __always_inline int is_canary(struct socket *state, const struct target *t)
{
	if (state->marks & SOCKET_CANARY) {
		state->flow.original = t->to.address;
		state->flow.original_port = t->port;
		return 1;
	}
	withdraw(state);
	forget_connection(state);
	return 0;
}

static __always_inline int is_agent(const struct caller *who, const struct settings *now)
{
	return who->tgid == now->agent_tgid && is_same_image(&who->image, &now->agent_image);
}

/* Redirects a candidate, if an agent answers: then *listener holds the injector's
 * address. */
static __always_inline int redirect(struct bpf_sock_addr *ctx, struct socket *state,
				    const struct target *t, const struct caller *who,
				    const struct settings *now, struct target *listener)
{
	struct readiness_key where = {};
	struct readiness *ready;
	enum recorded recorded;
	__u32 at;

	/* Loopback cannot be reached from a socket tied to a device or VRF. A
	 * link-local address means nothing without its device, which is not seen
	 * here. */
	if (is_tied(ctx, state) || is_link_local(t))
		return without_agent(ctx, state, t, who, now, listener, COUNT_BOUND_DEVICE);
	where.netns = bpf_get_netns_cookie(ctx);
	where.family = t->family;
	ready = bpf_map_lookup_elem(&readiness_by_netns, &where);
	if (!ready)
		return without_agent(ctx, state, t, who, now, listener, COUNT_NO_LISTENER);
	if (!agent_is_alive())
		return without_agent(ctx, state, t, who, now, listener, COUNT_HEARTBEAT_STALE);
	if (!ready->routable && !is_loopback(t)) {
		count(COUNT_NO_ROUTE);
		return ALLOW;
	}
	at = listener_of(who, now);
	if (ctx->sk->src_port)
		at = free_listener(ctx, SOCKET_INJECTOR, t->family, at);
	loopback_listener(listener, t->family, ready->ports[at % LISTENERS]);
	if (!(listener_mark(ctx, listener) & SOCKET_INJECTOR)) {
		return without_agent(ctx, state, t, who, now, listener, COUNT_NO_LISTENER);
	}
	recorded = record(ctx, state, t, who, now);
	if (recorded != RECORDED) {
		return without_agent(ctx, state, t, who, now, listener,
				     recorded == NO_BUDGET ? COUNT_BUDGET : COUNT_STATE_FAILED);
	}
	count(COUNT_REDIRECTED);
	return ALLOW;
}

/* Decides on one connect(). *listener is where it goes instead, if its family is not 0. */
static __always_inline int on_connect(struct bpf_sock_addr *ctx, const struct target *t,
				      struct target *listener)
{
	struct port_rule *rule;
	struct settings *now;
	struct socket *state;
	struct task_struct *task;
	struct caller who;
	__u32 zero = 0, mark;

	listener->family = 0;
	if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM || !ctx->sk)
		return ALLOW;
	state = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);
	if (state && is_canary(state, t))
		return ALLOW;
	rule = bpf_map_lookup_elem(&ports, &t->port);
	if (!rule || !rule->flags)
		return ALLOW;
	now = bpf_map_lookup_elem(&settings_now, &zero);
	if (!now)
		return ALLOW;
	if (rule->flags & PORT_OURS) {
		mark = listener_mark(ctx, t);
		if (mark)
			return to_our_listener(ctx, state, t, &who, now, mark, listener);
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
	if (is_agent(&who, now)) {
		count(COUNT_EXEMPT);
		return ALLOW;
	}
	who.possible = possible_identities(task, &who, now);
	if (!who.possible) {
		count(COUNT_BYSTANDER);
		return ALLOW;
	}
	recall_identity(&who, now->generation);
	if (!who.identity && is_verdict_bystander(&who, now->generation)) {
		count(COUNT_BYSTANDER_CACHED);
		return ALLOW;
	}
	count(COUNT_CANDIDATE);
	return redirect(ctx, state, t, &who, now, listener);
}

SEC("cgroup/connect4")
int lanyard_connect4(struct bpf_sock_addr *ctx)
{
	struct target to, listener;
	int answer;

	target4(&to, ctx->user_ip4, ctx->user_port);
	answer = on_connect(ctx, &to, &listener);
	if (listener.family)
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
	if (listener.family)
		REWRITE6(ctx, listener.to.word, listener.port);
	return answer;
}

/* The state of a socket that may have been sent elsewhere than it asked for. */
static __always_inline struct socket *redirected(struct bpf_sock_addr *ctx)
{
	struct socket *state;

	if (!ctx->sk)
		return 0;
	state = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);
	if (!state || !state->flow.kind || state->marks & SOCKET_ACCEPTED)
		return 0;
	return state;
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

/* From where the socket would have been connected. A program tells this to its peers, who
 * cannot come to the loopback address that the kernel chose to reach the injector. One
 * that the program bound itself is what the kernel says, and stays. */
static __always_inline union words *source_of(const struct socket *state)
{
	struct source_key key = {
		.prefixlen = SOURCE_NETNS_BITS + 128,
		.netns = state->flow.netns,
		.addr = state->flow.original,
	};

	return bpf_map_lookup_elem(&source_addresses, &key);
}

SEC("cgroup/getsockname4")
int lanyard_getsockname4(struct bpf_sock_addr *ctx)
{
	struct socket *state = redirected(ctx);
	union words *from;

	if (!state || ctx->user_ip4 != LOOPBACK4)
		return ALLOW;
	from = source_of(state);
	if (from)
		ctx->user_ip4 = from->word[3];
	return ALLOW;
}

SEC("cgroup/getsockname6")
int lanyard_getsockname6(struct bpf_sock_addr *ctx)
{
	struct socket *state = redirected(ctx);
	__u32 last = ctx->user_ip6[3];
	union words *from;

	if (!state || ctx->user_ip6[0] || ctx->user_ip6[1])
		return ALLOW;
	if (ctx->user_ip6[2] ? ctx->user_ip6[2] != MAPPED_PREFIX || last != LOOPBACK4 : last != LOOPBACK6_LAST)
		return ALLOW;
	from = source_of(state);
	if (!from)
		return ALLOW;
	ctx->user_ip6[0] = from->word[0];
	ctx->user_ip6[1] = from->word[1];
	ctx->user_ip6[2] = from->word[2];
	ctx->user_ip6[3] = from->word[3];
	return ALLOW;
}
