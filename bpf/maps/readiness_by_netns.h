//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Where our listener is, by network namespace and family. No entry: no agent
 * there, and no redirect. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct readiness_key);
	__type(value, struct readiness);
} readiness_by_netns SEC(".maps");
