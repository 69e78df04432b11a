//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What the programs and user space share. Every structure is padded by hand;
 * addresses are 16 bytes (IPv4 mapped into IPv6) in network byte order, ports
 * are in host byte order, times are nanoseconds since boot. Change a layout or a
 * meaning here, and abiVersion in package probe with it: it is part of the pin
 * path, so that an upgraded program never reads the maps of another. */
#ifndef LANYARD_ABI_H
#define LANYARD_ABI_H

#include "include/kernel.h"

#define EXECUTABLE_NAME_SIZE 64
#define EPOCHS 4096
#define HEARTBEAT_LIMIT_NS (5ULL * 1000 * 1000 * 1000)
#define FLOWS_FULL_NS (1ULL * 1000 * 1000 * 1000)
#define FLOW_LIFETIME_NS (30ULL * 1000 * 1000 * 1000)

/* One executable in one process: see workload.Image. */
struct image {
	__u64 start_time;
	__u64 exec_id;
};

enum flow_kind {
	FLOW_NONE = 0,
	FLOW_REDIRECTED = 1,
	FLOW_LOCAL_API = 2,
};

struct address {
	__u8 bytes[16];
};

/* The connecting socket's own end, under which its flow is published. */
struct flow_key {
	__u64 netns;
	struct address local;
	__u32 port;
	__u32 pad;
};

struct flow {
	__u64 socket_cookie;
	__u64 published;
	struct image image;
	__u64 cgroup;
	__u64 netns;
	__u64 generation;
	struct address original;
	__u32 original_port;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	enum flow_kind kind;
	__u32 pad;
};

/* Marks on a socket. EXEMPT and the listeners' are written by the agent through
 * the descriptor of its own socket; nobody else can. */
enum socket_mark {
	SOCKET_EXEMPT = 1,
	SOCKET_INJECTOR = 2,
	SOCKET_LOCAL_API = 4,
	SOCKET_DIRECT = 8,       /* connects to our listener, not sent there by us */
	SOCKET_PUBLISHED = 16,   /* a flow stands under .key */
	SOCKET_ESTABLISHED = 32, /* and the injector will see the connection */
};

struct socket {
	struct flow flow;
	struct flow_key key;
	enum socket_mark marks;
	__u32 pad;
};

enum port_flag {
	PORT_WATCHED = 1,    /* on every address */
	PORT_NARROWED = 2,   /* on the addresses in watched_prefixes */
	PORT_OURS = 4,       /* one of our listeners may stand here */
};

struct port_rule {
	enum port_flag flags;
	__u32 pad;
};

/* prefixlen counts from port: PREFIX_PORT_BITS, then those of the address. */
#define PREFIX_PORT_BITS 32
struct prefix_key {
	__u32 prefixlen;
	__u32 port;
	struct address addr;
};

struct readiness_key {
	__u64 netns;
	__u32 family;
	__u32 pad;
};

struct readiness {
	__u32 port;     /* of the injector's listener on the family's loopback */
	__u32 routable; /* the namespace has a route beyond loopback */
};

enum setting_flag {
	ALL_CANDIDATES = 1, /* a reload is under way: nobody is a bystander */
};

/* One bit for each identity; identities beyond 64 share bits, which only makes
 * more callers candidates. The *_any masks hold the identities that set no such
 * condition. */
struct settings {
	__u64 generation;
	__u64 identities; /* the bits in use */
	__u64 name_any;
	__u64 uid_any;
	__u64 cgroup_any;
	struct image agent_image;
	__u32 agent_tgid;
	enum setting_flag flags;
};

enum verdict {
	VERDICT_BYSTANDER = 1,
};

struct verdict_key {
	struct image image;
	__u64 cgroup;
	__u64 generation;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	__u32 pad;
};

enum lifecycle {
	IMAGE_RUNS = 0,
	IMAGE_EXEC = 1, /* ended: another took its place */
	IMAGE_EXIT = 2, /* ended with its process */
};

/* A process image and what became of it. */
struct process {
	struct image image;
	__u32 tgid;
	enum lifecycle what;
};

enum counter {
	COUNT_WATCHED,          /* connects to a watched port and address */
	COUNT_EXEMPT,           /* the agent's own */
	COUNT_KERNEL_THREAD,
	COUNT_BYSTANDER,        /* failed a condition of every identity */
	COUNT_BYSTANDER_CACHED, /* user space had said so */
	COUNT_CANDIDATE,
	COUNT_REDIRECTED,
	COUNT_NO_ROUTE,         /* left to the kernel's own answer */
	COUNT_BOUND_DEVICE,     /* tied to a device or VRF: cannot be redirected */
	COUNT_NO_LISTENER,      /* no agent in this namespace */
	COUNT_HEARTBEAT_STALE,  /* an agent that hangs */
	COUNT_FLOWS_FULL,
	COUNT_STATE_FAILED,     /* no memory for the socket's state, or images full */
	COUNT_REFUSED,          /* agent_unavailable, destination closed */
	COUNT_PASSED,           /* agent_unavailable, destination open or unknown */
	COUNT_PUBLISHED,
	COUNT_PUBLISH_FAILED,   /* the flow map is full */
	COUNT_PUBLISH_CONFLICT, /* another socket's flow waited under the address */
	COUNT_LOCAL_API,
	COUNT_DIRECT,           /* connects to our listener not sent there by us */
	COUNT_EXEC,
	COUNT_EXIT,
	COUNT_EVENT_LOST,
	COUNTERS,
};

#endif
