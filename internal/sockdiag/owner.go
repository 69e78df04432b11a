//go:build linux

package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// acceptWait is how long a server may take to accept a connection, where only
	// that tells whose it is.
	acceptWait = time.Second
	firstLook  = time.Millisecond // doubled up to
	lastLook   = 50 * time.Millisecond
)

// Cgroups finds the paths of cgroups below the cgroup2 root by their ids.
type Cgroups interface {
	Path(id uint64) (string, error)
}

// Owners tells who serves the far end of connections within one network
// namespace. It is safe for concurrent use.
type Owners struct {
	diag    sockets
	cgroups Cgroups
}

// sockets is what Owners needs of a Diag.
type sockets interface {
	Find(local, remote netip.AddrPort) (Socket, error)
	Listeners(at netip.AddrPort) ([]Socket, error)
}

// NewOwners returns the owners of the sockets that a Diag sees.
func NewOwners(d *Diag, c Cgroups) *Owners { return &Owners{d, c} }

// NotServedError says who has the far end of a connection instead of whom was
// wanted.
type NotServedError struct {
	Address netip.AddrPort // of the far end
	Reason  string
}

// Error names the address and the reason.
func (e *NotServedError) Error() string {
	return fmt.Sprintf("find out who serves %v: %s", e.Address, e.Reason)
}

// Check returns nil if the far end of the connection from local to remote is a
// socket of this host that belongs to whom the selector describes, by user,
// cgroup or systemd unit; else an error.
//
// The cgroup is that of the process that made the listening socket, and its
// connections have it from the handshake on. The user is that of the process that
// accepted the connection. A connection that nobody has accepted yet counts as
// its listener's owner's, since nobody else can accept it but by being given the
// listener: every listener of the address has to fit then. Where only the user
// does not, the server has a second to accept: it may do that as another one.
func (o *Owners) Check(ctx context.Context, want workload.Selector, local, remote netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, acceptWait)
	defer cancel()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		peer, err := o.diag.Find(remote, local)
		if err != nil {
			return err
		}
		if !peer.waiting() {
			return refusal(remote, o.misfit(want, peer))
		}
		reason, final, err := o.judgeWaiting(want, peer)
		if err != nil || final || reason == "" {
			return errors.Join(err, refusal(remote, reason))
		}
		select {
		case <-ctx.Done():
			return refusal(remote, "nobody has accepted the connection, and "+reason)
		case <-time.After(pause):
		}
	}
}

// judgeWaiting says why a connection that nobody has accepted yet does not belong
// to whom is wanted, "" if it does, and whether accepting it cannot change that.
func (o *Owners) judgeWaiting(want workload.Selector, peer Socket) (reason string, final bool, err error) {
	if peer.State == Established {
		cgroup := o.mismatches(want, peer)
		cgroup = slices.DeleteFunc(cgroup, func(m workload.Mismatch) bool { return m.Kind == workload.KindUser })
		if len(cgroup) > 0 || !want.Needs(workload.KindUser) {
			return texts(cgroup), true, nil // it has its listener's, whoever accepts it
		}
	}
	reason, err = o.listenersMisfit(want, peer)
	return reason, peer.State == SynReceived, err // a handshake is completed by data only
}

// listenersMisfit says why a connection that waits for being accepted does not
// belong to whom is wanted, "" if it does. That it still waits after the listeners
// were seen proves that its own was among them.
func (o *Owners) listenersMisfit(want workload.Selector, peer Socket) (string, error) {
	listeners, err := o.diag.Listeners(peer.Local)
	if err != nil {
		return "", err
	}
	if len(listeners) == 0 {
		return "nobody listens", nil
	}
	for _, l := range listeners {
		if misfit := o.misfit(want, l); misfit != "" {
			return misfit, nil
		}
	}
	again, err := o.diag.Find(peer.Local, peer.Remote)
	if err != nil {
		return "", err
	}
	if !again.waiting() {
		return "it was accepted meanwhile", nil
	}
	return "", nil
}

// waiting reports whether nobody has accepted the socket yet.
func (s *Socket) waiting() bool {
	return s.Inode == 0 && (s.State == Established || s.State == SynReceived)
}

// Listening returns the owners of the sockets that take connections to an address,
// with what is known of them here: user, cgroup, unit.
func (o *Owners) Listening(at netip.AddrPort) ([]workload.Process, error) {
	sockets, err := o.diag.Listeners(at)
	if err != nil {
		return nil, err
	}
	var owners []workload.Process
	for _, s := range sockets {
		path, err := o.cgroups.Path(s.Cgroup)
		if err != nil {
			return nil, fmt.Errorf("find out who listens at %v: %w", at, err)
		}
		owners = append(owners, workload.Process{UID: s.UID, CgroupID: s.Cgroup, Cgroup: path, SystemdUnit: workload.SystemdUnit(path)})
	}
	return owners, nil
}

// misfit says what of the owner of a socket is not as wanted, "" if all is.
func (o *Owners) misfit(want workload.Selector, s Socket) string {
	if s.Inode == 0 {
		return "its process is closing it"
	}
	return texts(o.mismatches(want, s))
}

// mismatches lists what of the owner of a socket is not as wanted.
func (o *Owners) mismatches(want workload.Selector, s Socket) []workload.Mismatch {
	owner := workload.Process{UID: s.UID, CgroupID: s.Cgroup}
	var unknown error
	if want.Needs(workload.KindCgroup) || want.Needs(workload.KindSystemdUnit) {
		if owner.Cgroup, unknown = o.cgroups.Path(s.Cgroup); unknown == nil {
			owner.SystemdUnit = workload.SystemdUnit(owner.Cgroup)
		}
	}
	if want.Match(&owner) {
		return nil
	}
	missed := want.Mismatches(&owner)
	for i := range missed {
		switch m := &missed[i]; {
		case m.Kind != workload.KindUser && unknown != nil:
			m.Had = fmt.Sprintf("not known (%v)", unknown)
		case m.Had == "":
			m.Had = "none, in cgroup " + owner.Cgroup
		}
	}
	return missed
}

func texts(missed []workload.Mismatch) string {
	var all []string
	for _, m := range missed {
		all = append(all, fmt.Sprintf("its %s is %s, wanted is %s", m.Kind, m.Had, strings.Join(m.Wanted, " or ")))
	}
	return strings.Join(all, "; ")
}

func refusal(at netip.AddrPort, reason string) error {
	if reason == "" {
		return nil
	}
	return &NotServedError{at, reason}
}
