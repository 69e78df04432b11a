//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Cgroup id: the identities whose patterns its path fits, where there are any. Only
 * user space knows them, so that they are not where many cgroups push out others. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} cgroups_told SEC(".maps");
