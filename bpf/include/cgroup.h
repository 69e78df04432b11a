//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What a cgroup says of its members: the unit, the identities that this settles,
 * and who its members are to the budgets. */
#ifndef LANYARD_CGROUP_H
#define LANYARD_CGROUP_H

#include "include/abi.h"
#include "maps/cgroup_roots.h"
#include "maps/cgroups.h"
#include "maps/cgroups_told.h"
#include "maps/units.h"

#define CGROUP_DEPTH 32
#define SLICE_LEN 6
#define SERVICE_LEN 7
#define USER_LEN 5
#define CONTAINER_ID_LEN 64

/* The way from a cgroup up to the root, and what was found on it. */
struct climb {
	struct cgroup *at; /* next to be looked at */
	const char *unit;  /* the name of the topmost so far that is no slice */
	__u64 unit_id;
	__u64 container; /* the topmost so far that is named like a container, 0 for none */
	__u64 id;	 /* of the cgroup below all */
	struct cgroup_facts facts;
	__u32 unit_len; /* 0 for no unit */
	__u32 pad;
};

/* A word of up to eight characters as the number that it is in memory: one comparison
 * instead of one for each character, of which the verifier would follow every path. */
#define WORD(a, b, c, d, e, f, g) \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48)
#define SLICE WORD('.', 's', 'l', 'i', 'c', 'e', 0)
#define SCOPE WORD('.', 's', 'c', 'o', 'p', 'e', 0)
#define SERVICE WORD('s', 'e', 'r', 'v', 'i', 'c', 'e')
#define USER WORD('u', 's', 'e', 'r', '-', 0, 0)
#define USER_MANAGER WORD('u', 's', 'e', 'r', '@', 0, 0)

static __always_inline int name_is(const char *name, __u64 want, __u32 len)
{
	__u64 text = 0;

	return !bpf_probe_read_kernel(&text, len, name) && text == want;
}

static __always_inline int is_slice(const char *name, __u32 len)
{
	return len >= SLICE_LEN && name_is(name + len - SLICE_LEN, SLICE, SLICE_LEN);
}

/* The length of a component's name, or -1 where that cannot be looked at whole. */
static __always_inline int length_of(const char *name)
{
	char part[NAME_SIZE];
	long len, rest;

	len = bpf_probe_read_kernel_str(part, NAME_SIZE, name);
	if (len == NAME_SIZE) { /* in two parts: the stack is short */
		rest = bpf_probe_read_kernel_str(part, NAME_SIZE, name + NAME_SIZE - 1);
		if (rest <= 0 || rest == NAME_SIZE)
			return -1;
		len += rest - 1;
	}
	return (int)len - 1;
}

/* What is in and below user@.service is a user's own doing. */
static __always_inline int is_user_manager(const char *name, __u32 len)
{
	return len > SERVICE_LEN && name_is(name, USER_MANAGER, USER_LEN) &&
	       name_is(name + len - SERVICE_LEN, SERVICE, SERVICE_LEN);
}

/* Whoever has a unit may name what is below it, like containers as well. */
static __always_inline int is_unit(const char *name, __u32 len)
{
	return (len > SERVICE_LEN && name_is(name + len - SERVICE_LEN, SERVICE, SERVICE_LEN)) ||
	       (len > SLICE_LEN && name_is(name + len - SLICE_LEN, SCOPE, SLICE_LEN));
}

/* The identities that a unit's name settles. systemd puts an underscore before
 * names that the kernel could want. A global function, for its stack. */
__attribute__((noinline)) __u64 identities_of_unit(__u64 unit, __u32 len)
{
	const char *at = (const char *)unit;
	char name[NAME_SIZE] = {};
	__u64 *mask;

	if (name_is(at, '_', 1)) {
		at++;
		len--;
	}
	if (len >= NAME_SIZE || is_user_manager(at, len))
		return 0;
	if (bpf_probe_read_kernel_str(name, NAME_SIZE, at) <= 0)
		return 0;
	mask = bpf_map_lookup_elem(&units, name);
	return mask ? *mask : 0;
}

enum climbed {
	CLIMB_ON,
	CLIMBED_TO_ROOT,
	CLIMB_ENDED, /* at a component that cannot be looked at whole */
};

/* Looks at one component, and moves on to its parent. A global function: the verifier
 * looks at it once, and not at every step of every way. */
__attribute__((noinline)) int climb_a_step(struct climb *c)
{
	struct cgroup *at, *parent;
	struct kernfs_node *kn;
	const char *name;
	__u64 id, *mask;
	int len;

	if (!c)
		return CLIMB_ENDED;
	at = c->at;
	parent = (struct cgroup *)BPF_CORE_READ(at, self.parent);
	kn = BPF_CORE_READ(at, kn);
	name = BPF_CORE_READ(kn, name);
	id = BPF_CORE_READ(kn, id);
	len = length_of(name);
	if (len < 0)
		return CLIMB_ENDED;
	mask = bpf_map_lookup_elem(&cgroup_roots, &id);
	if (mask)
		c->facts.certain |= *mask;
	if (!parent)
		return CLIMBED_TO_ROOT;
	if (!is_slice(name, (__u32)len)) {
		c->unit = name;
		c->unit_len = (__u32)len;
		c->unit_id = id;
		c->facts.is_user = 0;
		if (len == CONTAINER_ID_LEN)
			c->container = id;
	} else if (name_is(name, USER, USER_LEN)) {
		c->facts.party = id;
		c->facts.is_user = 1;
	}
	c->at = parent;
	return CLIMB_ON;
}

static __always_inline enum climbed climb(struct climb *c)
{
	enum climbed now = CLIMB_ON;
	int i;

	for (i = 0; i < CGROUP_DEPTH && now == CLIMB_ON; i++)
		now = (enum climbed)climb_a_step(c);
	return now;
}

/* The unit is the topmost component that is no slice. The party is the topmost
 * slice of a user, below slices only: whoever may make cgroups names them. Else it
 * is the topmost component that is named like a container; else the unit. Where the
 * way up is too long to be seen whole, the unit is left to user space, and all who
 * are so deep are one party, so that depth wins nobody anything. */
static __always_inline void conclude(struct climb *c, enum climbed how)
{
	struct cgroup_facts *facts = &c->facts;

	if (how != CLIMBED_TO_ROOT) {
		facts->possible = ~0ULL;
		facts->party = 0;
		facts->is_user = 1; /* one party, whatever uids they take on */
		return;
	}
	if (c->unit_len) {
		facts->certain |= identities_of_unit((__u64)c->unit, c->unit_len);
		if (!facts->is_user)
			facts->party = c->container && !is_unit(c->unit, c->unit_len) ? c->container : c->unit_id;
	}
	facts->possible |= facts->certain;
}

/* Finds out about the caller's cgroup, and notes that under the id of the very cgroup
 * that was climbed from, as the caller may be moved at any moment. A global function:
 * the verifier looks at it once, and not at every place that calls it. */
__attribute__((noinline)) int find_out_about_cgroup(__u64 cgroup_open)
{
	struct cgroup *at = bpf_get_current_task_btf()->cgroups->dfl_cgrp;
	struct climb c = { .at = at, .id = at->kn->id };

	c.facts.party = c.id;
	c.facts.possible = cgroup_open;
	conclude(&c, climb(&c));
	return (int)bpf_map_update_elem(&cgroups, &c.id, &c.facts, BPF_NOEXIST);
}

/* What is known of the caller's cgroup, found out if need be. */
static __always_inline struct cgroup_facts *cgroup_facts(struct task_struct *task,
							 const struct settings *now)
{
	__u64 id = task->cgroups->dfl_cgrp->kn->id;
	struct cgroup_facts *known = bpf_map_lookup_elem(&cgroups, &id);
	__u64 *told;

	if (known)
		return known;
	find_out_about_cgroup(now->cgroup_open);
	known = bpf_map_lookup_elem(&cgroups, &id);
	told = bpf_map_lookup_elem(&cgroups_told, &id);
	if (known && told)
		known->possible = known->certain = *told;
	return known;
}

#endif
