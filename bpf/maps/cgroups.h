//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What is known of a cgroup, by id: found out by the programs when they meet it,
 * and better by user space where an identity has a pattern. What is pushed out is
 * found out again. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct cgroup_facts);
} cgroups SEC(".maps");
