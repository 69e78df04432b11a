//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Counts the ends of tracked images, by thread-group id modulo EPOCHS. Mapped
 * by user space, which thus sees without a system call that an image it knows
 * may have ended. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EPOCHS);
	__type(key, __u32);
	__type(value, __u64);
} epochs SEC(".maps");
