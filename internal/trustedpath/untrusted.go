package trustedpath

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// UntrustedError says who else can change a file, or what stands in its place, and
// what to do about it.
type UntrustedError struct {
	Path   string // of the file, folder or link
	Reason string // goes on from the path
	Remedy string // a command, or what else to do
}

// Error names the path, the reason and the remedy.
func (e *UntrustedError) Error() string {
	return fmt.Sprintf("%s %s; %s", quote(e.Path), e.Reason, e.Remedy)
}

// Rule says what is asked of a file beyond that only root and we can write it.
type Rule struct {
	forbidden  uint32 // permission bits
	groupReads bool   // if it is root's and we are not
	links      bool   // that it may be reached through, for its last component
}

var (
	// Secret is a file of our own that only its owner may read: a private key.
	Secret = Rule{forbidden: 0o077}
	// Kept is a file of our own that others may read.
	Kept = Rule{forbidden: 0o022}
	// Given is a file that somebody gave us: a configuration, a ticket, a CA. It may
	// be a link of root's or of ours, as Kubernetes mounts files and distributions
	// name them.
	Given = Rule{forbidden: 0o022, links: true}
	// GivenSecret is a secret that somebody gave us: a key that is mounted. Others may
	// not read it, with one exception: root's file is read by another user only as a
	// member of its group.
	GivenSecret = Rule{forbidden: 0o077, groupReads: true, links: true}
)

// owners tells who may own what we use.
type owners struct{ euid uint32 }

func (o owners) check(path string, st *unix.Stat_t) error {
	if st.Uid == 0 || st.Uid == o.euid {
		return nil
	}
	wanted, owner := "root", "root"
	if o.euid != 0 {
		wanted, owner = fmt.Sprintf("root or user id %d", o.euid), strconv.Itoa(int(o.euid))
	}
	chown := "run chown " + owner
	if kind(st) == unix.S_IFLNK {
		chown = "run chown -h " + owner
	}
	return &UntrustedError{path, fmt.Sprintf("belongs to user id %d, not to %s", st.Uid, wanted), chown + " " + quote(path)}
}

// checkFolder refuses an open folder in which others can exchange what is there. Where
// it is sticky only the owner of a file can, and where root's is on a read-only mount
// nobody: each file is judged by itself.
func (o owners) checkFolder(dir int, path string, st *unix.Stat_t) error {
	if err := o.check(path, st); err != nil {
		return err
	}
	if permissions(st)&0o022 == 0 || uint32(st.Mode)&unix.S_ISVTX != 0 || st.Uid == 0 && isReadOnly(dir) {
		return nil
	}
	return o.writableFolder(path, st)
}

// writableFolder says how others are kept out of a folder. One that root has given to a
// group, as Kubernetes does with fsGroup, is not ours to change.
func (o owners) writableFolder(path string, st *unix.Stat_t) error {
	remedy := "run chmod go-w " + quote(path)
	if st.Uid == 0 && o.euid != 0 {
		remedy = fmt.Sprintf("run as root: chown %d %s && chmod 700 %s (in Kubernetes: in an init container, and without fsGroup)", o.euid, quote(path), quote(path))
	}
	return &UntrustedError{path, fmt.Sprintf("is a folder in which others can put files (mode %04o)", permissions(st)), remedy}
}

// checkFile judges a file that has been opened, or is about to be.
func (o owners) checkFile(path string, st *unix.Stat_t, rule Rule) error {
	if kind(st) != unix.S_IFREG {
		return fmt.Errorf("%s is not a regular file", quote(path))
	}
	if err := o.check(path, st); err != nil {
		return err
	}
	forbidden, private := rule.forbidden, "run chmod 600 "
	if rule.groupReads && st.Uid == 0 && o.euid != 0 {
		forbidden, private = forbidden&^0o040, "run chmod 640 "
	}
	switch mode := permissions(st); {
	case mode&forbidden == 0:
		return nil
	case forbidden&0o004 != 0:
		return &UntrustedError{path, fmt.Sprintf("has mode %04o, which lets others in", mode), private + quote(path)}
	default:
		return &UntrustedError{path, fmt.Sprintf("has mode %04o, so others can change it", mode), "run chmod go-w " + quote(path)}
	}
}

func kind(st *unix.Stat_t) uint32        { return uint32(st.Mode) & unix.S_IFMT }
func permissions(st *unix.Stat_t) uint32 { return uint32(st.Mode) & 0o777 }

// plain is a path that a shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._+:@%,=-]+$`)

// quote writes a path on one line, so that a shell takes it as it is and runs nothing
// that stands in it: in double quotes it would.
func quote(path string) string {
	if plain.MatchString(path) {
		return path
	}
	escaped := strconv.Quote(path)
	return "$'" + strings.ReplaceAll(escaped[1:len(escaped)-1], "'", `\'`) + "'"
}

// mountRemedy says of what is refused in an open folder on a read-only mount that no
// command mends it there. Another error, or none, it leaves as it is.
func mountRemedy(dir int, err error) error {
	var untrusted *UntrustedError
	if !errors.As(err, &untrusted) || !isReadOnly(dir) {
		return err
	}
	return &UntrustedError{
		untrusted.Path, untrusted.Reason,
		"its mount is read-only: change what is mounted (in Kubernetes: defaultMode 0444, for a key 0400, or 0440 with fsGroup for a user other than root)",
	}
}
