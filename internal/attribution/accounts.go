package attribution

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// HostAccounts finds the numbers of users and groups in this host's /etc/passwd
// and /etc/group. Accounts that only a name service knows are written as numbers.
// It reads the files at each call; HostNames finds names, and remembers.
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

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("parse account number: %w", err)
	}
	return uint32(id), nil
}
