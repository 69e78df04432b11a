//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* State of a connection, with its socket: freed by the kernel with it. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket);
} sockets SEC(".maps");

/* Ends what an earlier connect() left on a socket. That it may be tied to a device goes
 * on. */
static __always_inline void forget_connection(struct socket *state)
{
	enum socket_mark tied = state->marks & SOCKET_TIED;

	__builtin_memset(state, 0, sizeof(*state));
	state->marks = tied;
}
