//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Base name of an executable, padded with zeros: the identities that accept it. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(key_size, NAME_SIZE);
	__type(value, __u64);
} executables SEC(".maps");
