package attribution

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// HostAccounts finds users and groups in this host's /etc/passwd and /etc/group.
// Accounts that only a name service knows are written as numbers.
type HostAccounts struct{}

// UserID returns the number of a user.
func (HostAccounts) UserID(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return 0, fmt.Errorf("this host has no user %q", name)
	}
	if err != nil {
		return 0, fmt.Errorf("look up user %q: %w", name, err)
	}
	return parseID(u.Uid)
}

// GroupID returns the number of a group.
func (HostAccounts) GroupID(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return 0, fmt.Errorf("this host has no group %q", name)
	}
	if err != nil {
		return 0, fmt.Errorf("look up group %q: %w", name, err)
	}
	return parseID(g.Gid)
}

// UserName returns the name of a user, or "" where it has none.
func (HostAccounts) UserName(id uint32) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(id), 10))
	if err != nil {
		return ""
	}
	return u.Username
}

// GroupName returns the name of a group, or "" where it has none.
func (HostAccounts) GroupName(id uint32) string {
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10))
	if err != nil {
		return ""
	}
	return g.Name
}

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("parse account number: %w", err)
	}
	return uint32(id), nil
}
