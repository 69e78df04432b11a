//go:build linux

package attribution

import (
	"bufio"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxAccountFile bounds what is read of an account file, in bytes. Accounts
	// beyond are written as numbers.
	maxAccountFile = 16 << 20
	// accountsKept is how long what a file said is believed without another look at
	// whether it changed.
	accountsKept = time.Second
)

// HostNames finds the names of users and groups in this host's /etc/passwd and
// /etc/group; no name service is asked. It reads a file when it has changed, not
// when a number is not in it: whoever takes on many numbers has nothing read. Make
// it with NewHostNames. It is safe for concurrent use.
type HostNames struct{ users, groups accountFile }

// NewHostNames makes a HostNames that has read nothing yet.
func NewHostNames() *HostNames {
	return &HostNames{
		users:  accountFile{path: "/etc/passwd", fields: 7, now: time.Now},
		groups: accountFile{path: "/etc/group", fields: 4, now: time.Now},
	}
}

// UserName returns the name of a user, or "" where it has none.
func (n *HostNames) UserName(id uint32) string { return n.users.name(id) }

// GroupName returns the name of a group, or "" where it has none.
func (n *HostNames) GroupName(id uint32) string { return n.groups.name(id) }

// accountFile is a file of passwd(5) or group(5), both of which have the name
// first and the number third.
type accountFile struct {
	path   string
	fields int // of a line
	now    func() time.Time

	looking sync.Mutex // held by who looks whether the file changed; guards:
	state   version    // of the file when it was looked at

	mu     sync.RWMutex // guards what follows
	looked time.Time
	names  map[uint32]string // nil before the first look
	reads  int               // how often the file was read
}

func (a *accountFile) name(id uint32) string {
	name, known, fresh := a.find(id)
	if fresh {
		return name
	}
	if !known {
		a.looking.Lock()
	} else if !a.looking.TryLock() {
		return name // somebody looks, and the others go by what is known
	}
	defer a.looking.Unlock()
	if _, _, fresh := a.find(id); !fresh {
		a.look(known)
	}
	name, _, _ = a.find(id)
	return name
}

func (a *accountFile) find(id uint32) (name string, known, fresh bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	known = a.names != nil
	return a.names[id], known, known && a.now().Sub(a.looked) < accountsKept
}

// look reads the file if it changed. A file that cannot be read has no names.
func (a *accountFile) look(known bool) {
	state, names := readAccounts(a.path, a.fields, a.state, known)
	a.state = state
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked = a.now()
	if names != nil {
		a.names = names
		a.reads++
	}
}

// readAccounts returns the file's state, and its names unless they are known and
// the state is as it was.
func readAccounts(path string, fields int, before version, known bool) (version, map[uint32]string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return version{}, map[uint32]string{}
	}
	defer f.Close()
	state, err := versionOf(f)
	if err != nil {
		return version{}, map[uint32]string{}
	}
	if known && state == before {
		return state, nil
	}
	return state, parseAccounts(io.LimitReader(f, maxAccountFile), fields)
}

// parseAccounts returns the first name of each number.
func parseAccounts(file io.Reader, fields int) map[uint32]string {
	names := map[uint32]string{}
	eachAccount(file, fields, func(name string, id uint32) {
		if _, taken := names[id]; !taken {
			names[id] = name
		}
	})
	return names
}

// eachAccount calls found for each account, in order. Lines that are no account, as
// comments and those of a name service's compatibility mode, are left out.
func eachAccount(file io.Reader, fields int, found func(name string, id uint32)) {
	lines := bufio.NewReaderSize(file, 64<<10)
	for {
		line, long, err := lines.ReadLine()
		if err != nil {
			return
		}
		for ; long && err == nil; _, long, err = lines.ReadLine() { // members beyond a buffer do not matter
		}
		part := strings.SplitN(string(line), ":", fields)
		if len(part) != fields || part[0] == "" || strings.ContainsAny(part[0][:1], "#+-") {
			continue
		}
		if id, err := parseID(part[2]); err == nil {
			found(part[0], id)
		}
	}
}
