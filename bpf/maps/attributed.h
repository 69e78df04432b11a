//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* How many images on record have an identity, by thread-group id modulo EPOCHS. Where
 * none has, nobody need look into the map of images, which costs ten times as much. */
#pragma once
#include "include/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EPOCHS);
	__type(key, __u32);
	__type(value, __u32);
} attributed SEC(".maps");
