//go:build linux

package attribution

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// AccountsElsewhere are the users and groups of process 1, where that has another root
// than ours: the host's, for an agent in a container. nil maps hold nobody.
type AccountsElsewhere struct{ users, groups map[string]uint32 }

// ReadAccountsElsewhere reads them through a proc mount. Where they cannot be read, or are
// our own, nothing differs.
func ReadAccountsElsewhere(proc string) AccountsElsewhere {
	root := filepath.Join(proc, "1/root")
	if theirs := inodeOf(filepath.Join(proc, "1/ns/mnt")); theirs != 0 && theirs == inodeOf(filepath.Join(proc, "self/ns/mnt")) {
		return AccountsElsewhere{}
	}
	return AccountsElsewhere{users: idsIn(filepath.Join(root, "etc/passwd"), 7), groups: idsIn(filepath.Join(root, "etc/group"), 4)}
}

// idsIn returns the number of each name in a file of passwd(5) or group(5).
func idsIn(path string, fields int) map[string]uint32 {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	ids := map[string]uint32{}
	eachAccount(io.LimitReader(f, maxAccountFile), fields, func(name string, id uint32) {
		if _, taken := ids[name]; !taken {
			ids[name] = id
		}
	})
	return ids
}

// CheckUser returns an error if the user of this name has another number there.
func (a AccountsElsewhere) CheckUser(name string) error {
	return differs("user", name, a.users, HostAccounts{}.UserID)
}

// CheckGroup returns an error if the group of this name has another number there.
func (a AccountsElsewhere) CheckGroup(name string) error {
	return differs("group", name, a.groups, HostAccounts{}.GroupID)
}

func differs(what, name string, there map[string]uint32, here func(string) (uint32, error)) error {
	theirs, known := there[name]
	if !known {
		return nil
	}
	ours, err := here(name)
	if err != nil || ours == theirs {
		return nil // a number, or one that the configuration's reading refuses
	}
	return fmt.Errorf("%s %s has the number %d in the agent's container and %d on the host; write the number that is meant", what, name, ours, theirs)
}
