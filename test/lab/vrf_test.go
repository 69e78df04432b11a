//go:build lanyard_guest

package lab_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestVRFHasRoutesOfItsOwn connects to an address that only the VRF's table leads
// to.
func TestVRFHasRoutesOfItsOwn(t *testing.T) {
	a, b := lab.NewNetNS(t), lab.NewNetNS(t)
	device, _ := lab.Connect(t, a, []string{"10.98.1.1/24"}, b, []string{"10.98.1.2/24"})
	a.AddVRF(t, "blue", 1001, device)
	listener := listenIn(t, b, "10.98.1.2")
	for _, test := range []struct {
		name    string
		control func(network, address string, c syscall.RawConn) error
		reached bool
	}{
		{"bound to the VRF", bindToDevice("blue"), true},
		{"bound to nothing", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := a.Do(func() error {
				conn, err := (&net.Dialer{Timeout: waitLimit, Control: test.control}).Dial("tcp", listener.Addr().String())
				if err == nil {
					conn.Close()
				}
				return err
			})
			if (err == nil) != test.reached {
				t.Errorf("connect: %v, want reached: %v", err, test.reached)
			}
		})
	}
}

func bindToDevice(name string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failure error
		err := c.Control(func(fd uintptr) { failure = syscall.BindToDevice(int(fd), name) })
		if err != nil {
			return err
		}
		return failure
	}
}
