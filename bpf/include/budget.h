//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Shares of what is bounded. Everybody may hold what is guaranteed to it; beyond
 * that, as much as is still free of what all share: however much one holds, the
 * next finds as much as it left, and nobody needs to be told a number. Strangers
 * are guaranteed nothing and never touch what is guaranteed to identities.
 *
 * Strangers share in two steps. A place, which is a user, a unit or a container, may
 * hold as much as is still free; a party of it, which is a user id in a network
 * namespace, as much as its place may still take. Whoever may take on any number of
 * user ids, or make any number of namespaces, has one place all the same. */
#ifndef LANYARD_BUDGET_H
#define LANYARD_BUDGET_H

#include "include/abi.h"
#include "maps/budgets.h"

static __always_inline struct budget *budget_at(__u32 index)
{
	return bpf_map_lookup_elem(&budgets, &index);
}

/* Never negative, so that no defect elsewhere makes room that is not there. */
static __always_inline __s64 connections_open(const struct budget *b)
{
	__s64 open = (__s64)(b->opened - b->closed);

	return open > 0 ? open : 0;
}

static __always_inline void account_of_identity(__u32 identity, struct account *a)
{
	a->budget = BUDGET_IDENTITIES + (identity - 1) % (BUDGET_PLACES - BUDGET_IDENTITIES);
	a->place = 0;
}

static __always_inline __u64 mixed(__u64 h, __u64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9ULL;
	return h ^ (h >> 32);
}

/* A hash that nobody outside knows: one cannot choose with whom one shares. */
static __always_inline __u64 hash_of_place(__u64 place, __u32 seed)
{
	return mixed((__u64)seed << 32 | seed, place);
}

static __always_inline void account_of_stranger(const struct flow *flow, __u32 seed, struct account *a)
{
	__u64 h = hash_of_place(flow->place, seed);

	a->place = BUDGET_PLACES + (__u32)(h % (BUDGET_PARTIES - BUDGET_PLACES));
	h = mixed(mixed(h, flow->party_uid), flow->netns);
	a->budget = BUDGET_PARTIES + (__u32)(h % (BUDGETS - BUDGET_PARTIES));
}

static __always_inline void count_connections(const struct account *a, __u32 shared, __u64 change)
{
	struct budget *b = budget_at(a->budget);

	if (b)
		__sync_fetch_and_add(&b->opened, change);
	b = a->place ? budget_at(a->place) : 0;
	if (b)
		__sync_fetch_and_add(&b->opened, change);
	b = shared ? budget_at(BUDGET_SHARED) : 0;
	if (b)
		__sync_fetch_and_add(&b->opened, change);
}

static __always_inline void give_back(const struct account *a, __u32 shared)
{
	count_connections(a, shared, -1ULL);
}

static __always_inline void occupy(const struct account *a, __u32 shared)
{
	count_connections(a, shared, 1);
}

/* Says whether an account has room for one connection more, and whether that counts in
 * what all share. */
static __always_inline int has_room(const struct account *a, const struct settings *now, __s64 slack,
				    __u32 *shared)
{
	struct budget *mine = budget_at(a->budget), *place = budget_at(a->place);
	struct budget *all = budget_at(BUDGET_SHARED);
	__s64 free, beyond;

	if (!mine || !place || !all)
		return 0;
	free = (__s64)now->shared_connections - connections_open(all) + slack;
	if (a->place) {
		*shared = 1;
		return connections_open(mine) < free - connections_open(place);
	}
	beyond = connections_open(mine) - now->identity_connections;
	*shared = beyond >= 0;
	return beyond < 0 || beyond < free;
}

static __always_inline void count_image(const struct account *a, __u64 change)
{
	struct budget *b = budget_at(a->budget);

	if (b)
		__sync_fetch_and_add(&b->images, change);
	if (!a->place)
		return;
	b = budget_at(a->place);
	if (b)
		__sync_fetch_and_add(&b->images, change);
	b = budget_at(BUDGET_SHARED);
	if (b)
		__sync_fetch_and_add(&b->images, change);
}

/* The same for a stranger's image on record. */
static __always_inline int take_image(const struct account *a, const struct settings *now)
{
	struct budget *mine = budget_at(a->budget), *place = budget_at(a->place);
	struct budget *all = budget_at(BUDGET_SHARED);

	if (!mine || !place || !all)
		return -1;
	if ((__s64)mine->images >=
	    (__s64)now->shared_images - (__s64)all->images - (__s64)place->images)
		return -1;
	count_image(a, 1);
	return 0;
}

static __always_inline void give_image_back(const struct account *a)
{
	count_image(a, -1ULL);
}

#endif
