//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The record of an image. It ends in the image's own process, while user space may be
 * writing into it from another: then the map can already have given the memory to
 * another image. So who changes a record holds its lock, and looks whose it is. */
#ifndef LANYARD_IMAGE_H
#define LANYARD_IMAGE_H

#include "include/abi.h"
#include "include/budget.h"
#include "maps/attributed.h"
#include "maps/images.h"

static __always_inline int is_same_image(const struct image *a, const struct image *b)
{
	return a->start_time == b->start_time && a->exec_id == b->exec_id;
}

static __always_inline __u32 *attributed_at(__u32 tgid)
{
	__u32 slot = tgid % EPOCHS;

	return bpf_map_lookup_elem(&attributed, &slot);
}

static __always_inline void count_attributed(__u32 tgid, __u32 difference)
{
	__u32 *n = attributed_at(tgid);

	if (n)
		__sync_fetch_and_add(n, difference);
}

/* Ends the record under this id and gives its share back: once, whoever else does the
 * same. Returns 0 where there was one. */
static __always_inline int end_record(__u32 tgid, struct image *ended)
{
	struct known_image *known = bpf_map_lookup_elem(&images, &tgid);
	struct account account;
	__u32 identity, owner;

	if (!known)
		return -1;
	bpf_spin_lock(&known->lock);
	owner = known->tgid;
	account = known->account;
	identity = known->identity;
	ended->start_time = known->image.start_time;
	ended->exec_id = known->image.exec_id;
	if (owner == tgid)
		known->tgid = 0;
	bpf_spin_unlock(&known->lock);
	if (owner != tgid)
		return -1;
	bpf_map_delete_elem(&images, &tgid);
	if (!account.budget)
		return 0;
	give_image_back(&account);
	if (identity)
		count_attributed(tgid, -1U);
	return 0;
}

#endif
