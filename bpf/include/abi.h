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

#define NAME_SIZE 64
#define EPOCHS 4096
#define HEARTBEAT_LIMIT_NS (5ULL * 1000 * 1000 * 1000)

/* One executable in one process: see workload.Image. */
struct image {
	__u64 start_time;
	__u64 exec_id;
};

/* One state of one file, as the kernel itself tells files apart. A file that is
 * rewritten in place keeps its inode and generation, and overlayfs gives one
 * inode number to successive files, so that size and ctime belong to it. All
 * zeros: not known. */
struct file_id {
	__u64 inode;
	__u64 size;
	__u64 ctime;
	__u32 ctime_ns;
	__u32 device; /* of the superblock */
	__u32 generation;
	__u32 pad;
};

enum flow_kind {
	FLOW_NONE = 0,
	FLOW_REDIRECTED = 1,
	FLOW_LOCAL_API = 2,
};

struct address {
	__u8 bytes[16];
};

/* One handshake, from the connecting socket's side. Which of two sockets that have
 * the same four, the flow's isn says. */
struct flow_key {
	__u64 netns;
	struct address local;
	struct address remote;
	__u32 local_port;
	__u32 remote_port;
};

/* Which budgets something counts in: an identity's, or else a party's and that of the
 * party's place. 0: none. */
struct account {
	__u32 budget;
	__u32 place;
};

struct flow {
	__u32 isn; /* the initial sequence number of the handshake; first: see take() */
	__u32 pad;
	__u64 socket_cookie;
	struct image image;
	__u64 cgroup;
	__u64 place; /* of the caller: see cgroup_facts */
	__u64 netns;
	__u64 generation;
	struct address original;
	struct file_id file; /* only of an image that is not known as an identity's */
	__u32 original_port;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	enum flow_kind kind;
	__u32 identity; /* the bit of the identity that the image is known to have, plus 1 */
	struct account account; /* which the connection counts in */
	__u32 shared;    /* and whether in the shared one as well */
	__u32 party_uid; /* which tells the parties of the place apart: 0 in a user's */
};

/* Marks on a socket. CANARY and the listeners' are written by the agent
 * through the descriptor of its own socket; nobody else can. */
enum socket_mark {
	SOCKET_INJECTOR = 1,
	SOCKET_LOCAL_API = 2,
	SOCKET_CANARY = 4,    /* .flow tells the agent what the hook saw of it */
	SOCKET_PUBLISHED = 8, /* a flow may stand under .key */
	SOCKET_ACCEPTED = 16, /* at our listener's end: .flow is that of the peer */
	SOCKET_TIED = 32,     /* to a device, or about to be; stays until the socket is closed */
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

/* prefixlen counts from pad: SOURCE_NETNS_BITS, then those of the address. */
#define SOURCE_NETNS_BITS 96
struct source_key {
	__u32 prefixlen;
	__u32 pad;
	__u64 netns;
	struct address addr;
};

enum unknown_policy {
	UNKNOWN_PASSES = 0,
	UNKNOWN_REFUSED_ELSEWHERE = 1, /* outside the agent's network namespace */
	UNKNOWN_REFUSED = 2,
};

/* An address of destinations with on_failure: closed. */
struct closed {
	__u64 identities; /* that get a token there */
	enum unknown_policy unknown;
	__u32 pad;
};

struct readiness_key {
	__u64 netns;
	__u32 family;
	__u32 pad;
};

/* The listeners of one kind and family: the first are for callers whose identity is
 * known here, the others for everybody else. */
#define LISTENERS 16
#define IDENTITY_LISTENERS 8

struct readiness {
	__u32 ports[LISTENERS]; /* on the family's loopback */
	__u32 routable;         /* the namespace has a route beyond loopback */
	__u32 pad;
};

struct local_listeners {
	__u32 ports[LISTENERS]; /* on the family's loopback */
};

enum setting_flag {
	ALL_CANDIDATES = 1, /* a reload is under way: nobody is a bystander */
	DIRECT_ALLOWED = 2, /* connections to the injector that we did not send there are not refused here */
};

/* One bit for each identity; identities beyond 64 share bits, which only makes
 * more callers candidates. The *_any masks hold the identities that set no such
 * condition. */
struct settings {
	__u64 generation;
	__u64 identities; /* the bits in use */
	__u64 exact;      /* whose conditions can all be decided here, given the tables */
	__u64 several;    /* that several identities have: never told for certain */
	__u64 fingerprint; /* of all conditions, those of user space too */
	__u64 name_any;
	__u64 file_any;
	__u64 uid_any;
	__u64 gid_any;
	__u64 cgroup_any;
	__u64 cgroup_open; /* whose condition on the cgroup only user space can decide */
	__u64 home_netns;  /* of the agent */
	struct image agent_image;
	__u32 agent_tgid;
	enum setting_flag flags;
	__u32 shared_connections; /* that all may hold beyond what is guaranteed */
	__u32 identity_connections; /* that are guaranteed to each identity */
	__u32 shared_images;
	__u32 identity_images;
	__u32 seed; /* of the hash that gives strangers their budgets */
	__u32 slack; /* connections beyond those, where several find the last place at once */
};

/* How much somebody has open. Both only ever go on from where a former agent left
 * them; the difference counts. */
struct budget {
	__u64 opened; /* connections; written by the programs alone */
	__u64 closed; /* of those, ended; written by user space alone */
	__u64 images; /* on record in images; written by the programs alone */
	__u64 pad;
};

/* Which budget is whose: that which all share, one for each identity, and those of
 * strangers, who are hashed: of their places, and of the parties in them. */
#define BUDGET_SHARED 0
#define BUDGET_IDENTITIES 1
#define BUDGET_PLACES 65
#define BUDGET_PARTIES 4096
#define BUDGETS 8192

/* What is known of a cgroup. */
struct cgroup_facts {
	__u64 possible; /* identities whose condition on the cgroup may hold */
	__u64 certain;  /* and does hold */
	__u64 party;    /* cgroup that its members count under, their place: a user's, unit's or container's */
	__u32 is_user;  /* the place is a user's, whatever uid its members have */
	__u32 pad;
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

/* An image that runs, with the identity that user space found it to have while
 * it had these ids, this cgroup and this configuration. */
struct known_image {
	struct bpf_spin_lock lock; /* of what changes: who holds the record, and all below image */
	__u32 tgid; /* whose record this is, 0 once it has ended */
	struct image image;
	__u64 cgroup;
	__u64 generation;
	__u32 uid;
	__u32 gid;
	__u32 identity; /* bit plus 1, 0 for none */
	struct account account; /* which the image counts in; .budget is 0 for none */
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

/* Asked of the kernel by a process about itself. */
struct whoami {
	struct process self;
	__u64 cgroup;
};

/* Asked of the kernel about a file that the agent has open. */
struct file_query {
	struct file_id file;
	__u32 fd;
	__u32 pad;
};

/* Told the kernel: this image, under these ids, has this identity. */
struct identified {
	struct image image;
	__u64 cgroup;
	__u64 generation;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	__u32 identity;
};

/* Told the kernel: an image counts in this account now. It answers with the former. */
struct counted {
	struct account account;
	__u32 tgid;
	__u32 pad;
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
	COUNT_BUDGET,           /* the caller's share of the connections is used up */
	COUNT_STATE_FAILED,     /* no memory for the socket's state, or no room for the image */
	COUNT_REFUSED,          /* agent_unavailable: an identity's, to a closed destination */
	COUNT_REFUSED_UNKNOWN,  /* agent_unavailable: may be an identity's, and unknown: refuse */
	COUNT_PASSED,           /* agent_unavailable: destination open or unknown */
	COUNT_PASSED_UNKNOWN,   /* agent_unavailable: may be an identity's, to a closed destination */
	COUNT_PUBLISHED,
	COUNT_PUBLISH_FAILED,   /* the map of handshakes is full */
	COUNT_TAKEN,            /* by the accepted socket, at the end of the handshake */
	COUNT_WITHDRAWN,        /* its connection never came to be */
	COUNT_LOCAL_API,
	COUNT_DIRECT,           /* to our listener, not sent there by us: refused */
	COUNT_EXEC,
	COUNT_EXIT,
	COUNT_EVENT_LOST,
	COUNTERS,
};

#endif
