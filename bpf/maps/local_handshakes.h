//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The same of connections to the local API, which have no budget: where somebody
 * leaves very many unfinished, the oldest lose their flow, and need the key. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow);
} local_handshakes SEC(".maps");
