//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* A file: the identities whose conditions on the executable it meets for certain.
 * User space fills it with the files that the identities name, and with those in
 * which it recognised an identity. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct file_id);
	__type(value, __u64);
} files SEC(".maps");
