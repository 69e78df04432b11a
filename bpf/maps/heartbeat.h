//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* When the agent last showed life. Mapped by user space. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} heartbeat SEC(".maps");
