package sockdiag

import (
	"net/netip"
	"testing"
)

// script answers each look at the tables with the next line.
type script struct {
	t         *testing.T
	found     []Socket
	listeners [][]Socket
}

func (s *script) Find(_, _ netip.AddrPort) (Socket, error) {
	if len(s.found) == 0 {
		s.t.Fatal("asked once more than there is to say")
	}
	found := s.found[0]
	if len(s.found) > 1 {
		s.found = s.found[1:]
	}
	return found, nil
}

func (s *script) Listeners(netip.AddrPort) ([]Socket, error) {
	found := s.listeners[0]
	if len(s.listeners) > 1 {
		s.listeners = s.listeners[1:]
	}
	return found, nil
}

// What changes hands between two looks is never taken for what it was.
func TestFarEndChangesHands(t *testing.T) {
	const mine, other = 1000, 1001
	waiting, deferred := Socket{State: Established}, Socket{State: SynReceived}
	acceptedBy := func(uid uint32) Socket { return Socket{State: Established, Inode: 7, UID: uid} }
	listener := func(uid uint32) Socket { return Socket{State: Listening, Inode: 8, UID: uid} }
	closing := Socket{State: Listening, UID: mine}
	for _, k := range []struct {
		name      string
		found     []Socket
		listeners [][]Socket
		served    bool
	}{
		{"accepted", []Socket{acceptedBy(mine)}, nil, true},
		{"accepted by another", []Socket{acceptedBy(other)}, nil, false},
		{"closed, which looks like root", []Socket{{State: 5, UID: mine}}, nil, false},
		{"waits", []Socket{waiting}, [][]Socket{{listener(mine)}}, true},
		{"deferred", []Socket{deferred}, [][]Socket{{listener(mine)}}, true},
		{"deferred by another", []Socket{deferred}, [][]Socket{{listener(other)}}, false},
		{"waits among others", []Socket{waiting}, [][]Socket{{listener(mine), listener(other)}}, false},
		{"its listener has gone", []Socket{waiting}, [][]Socket{{}}, false},
		{"a listener that nobody has", []Socket{waiting}, [][]Socket{{closing}}, false},
		{"accepted by another before its listener gave way", []Socket{waiting, acceptedBy(other)}, [][]Socket{{listener(mine)}}, false},
		{"closed meanwhile", []Socket{waiting, {State: 8}}, [][]Socket{{listener(mine)}}, false},
		{"a worker accepts", []Socket{waiting, waiting, acceptedBy(mine)}, [][]Socket{{listener(other)}}, true},
		{"another accepts", []Socket{waiting, waiting, acceptedBy(other)}, [][]Socket{{listener(other)}}, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			o := &Owners{&script{t, k.found, k.listeners}, paths{}}
			err := o.Check(t.Context(), byUser(t, "1000"), netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"))
			if k.served != (err == nil) {
				t.Errorf("served %t (%v), want %t", err == nil, err, k.served)
			}
		})
	}
}
