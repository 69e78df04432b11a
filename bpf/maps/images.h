//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The image that runs in a process, by thread-group id, for processes that were
 * redirected or called the local API. The process tracepoints remove it when the
 * image ends: what stands here runs. More than all budgets of images together. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct known_image);
} images SEC(".maps");
