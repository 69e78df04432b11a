//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The flows of redirected connections whose handshake is under way: from the SYN
 * until the listener has its end of the connection, which takes the flow. More
 * than the connections that the budgets allow at once. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow);
} handshakes SEC(".maps");
