//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* From which address the kernel would connect to a prefix of one network namespace, for
 * sockets that it connects to the injector instead. No entry: not known. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * 2048); /* the old and the new ones, while routes change */
	__type(key, struct source_key);
	__type(value, struct address);
} source_addresses SEC(".maps");
