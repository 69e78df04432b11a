//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What to do with a destination port, by number: the one look-up that every
 * connect on the host pays for. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct port_rule);
} ports SEC(".maps");
