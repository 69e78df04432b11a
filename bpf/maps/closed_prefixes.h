//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Addresses known for destinations with on_failure: closed, where an identity may
 * not connect while no agent answers. The longest prefix holds what its shorter
 * ones say too. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct prefix_key);
	__type(value, struct closed);
} closed_prefixes SEC(".maps");
