//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Addresses that narrow a watched port. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * 16384); /* the old and the new ones, while a reload is under way */
	__type(key, struct prefix_key);
	__type(value, __u8);
} watched_prefixes SEC(".maps");
