//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Addresses as 16 bytes, IPv4 mapped into IPv6. */
#ifndef LANYARD_ADDRESS_H
#define LANYARD_ADDRESS_H

#include "include/abi.h"

union words {
	struct address address;
	__u32 word[4];
	__u64 half[2];
};

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)
#define LOOPBACK4 bpf_htonl(0x7f000001)
#define LOOPBACK6_LAST bpf_htonl(1)

/* Where a connect() wants to go. The unspecified address means loopback to
 * connect(2), and is resolved to it here: a flow names what will be dialled. */
struct target {
	union words to;
	__u32 port;   /* host byte order */
	__u32 family; /* of the connection, AF_INET for an IPv4-mapped target */
};

static __always_inline void target4(struct target *t, __u32 ip, __u32 port)
{
	t->to.word[0] = 0;
	t->to.word[1] = 0;
	t->to.word[2] = MAPPED_PREFIX;
	t->to.word[3] = ip ? ip : LOOPBACK4;
	t->port = bpf_ntohs((__u16)port);
	t->family = AF_INET;
}

static __always_inline int is_mapped(const union words *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == MAPPED_PREFIX;
}

static __always_inline void target6(struct target *t, struct bpf_sock_addr *ctx)
{
	t->to.word[0] = ctx->user_ip6[0];
	t->to.word[1] = ctx->user_ip6[1];
	t->to.word[2] = ctx->user_ip6[2];
	t->to.word[3] = ctx->user_ip6[3];
	t->port = bpf_ntohs((__u16)ctx->user_port);
	if (is_mapped(&t->to)) {
		if (!t->to.word[3])
			t->to.word[3] = LOOPBACK4;
		t->family = AF_INET;
		return;
	}
	if (!t->to.word[0] && !t->to.word[1] && !t->to.word[2] && !t->to.word[3])
		t->to.word[3] = LOOPBACK6_LAST;
	t->family = AF_INET6;
}

static __always_inline int is_loopback(const struct target *t)
{
	const union words *a = &t->to;

	if (t->family == AF_INET)
		return (bpf_ntohl(a->word[3]) >> 24) == 127;
	return !a->word[0] && !a->word[1] && !a->word[2] && a->word[3] == LOOPBACK6_LAST;
}

static __always_inline int is_link_local(const struct target *t)
{
	return t->family == AF_INET6 &&
	       (t->to.word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline void prefix_of(struct prefix_key *key, const struct target *t)
{
	key->prefixlen = PREFIX_PORT_BITS + 128;
	key->port = t->port;
	key->addr = t->to.address;
}

#endif
