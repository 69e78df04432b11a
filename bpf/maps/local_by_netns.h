//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Where callers of the local API are sent, by network namespace and family. No entry:
 * they stay at the address that they asked for. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct readiness_key);
	__type(value, struct local_listeners);
} local_by_netns SEC(".maps");
