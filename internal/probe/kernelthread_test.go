//go:build linux

package probe

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// From include/uapi/linux/mptcp_pm.h.
const (
	pmAddAddress      = 1
	pmAttrAddress     = 1
	pmAddressFamily   = 1
	pmAddressIPv4     = 3
	pmAddressFlags    = 6
	pmFlagSubflow     = 2
	pmFamilyName      = "mptcp_pm"
	pmProtocolVersion = 1
)

// addMultipathEndpoint has the kernel open a second sub-flow, from this address,
// for every multipath connection of the namespace.
func addMultipathEndpoint(address net.IP) error {
	family, err := netlink.GenlFamilyGet(pmFamilyName)
	if err != nil {
		return fmt.Errorf("find %s: %w", pmFamilyName, err)
	}
	r := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	r.AddData(&nl.Genlmsg{Command: pmAddAddress, Version: pmProtocolVersion})
	endpoint := nl.NewRtAttr(pmAttrAddress|unix.NLA_F_NESTED, nil)
	endpoint.AddRtAttr(pmAddressFamily, nl.Uint16Attr(unix.AF_INET))
	endpoint.AddRtAttr(pmAddressIPv4, address.To4())
	endpoint.AddRtAttr(pmAddressFlags, nl.Uint32Attr(pmFlagSubflow))
	r.AddData(endpoint)
	_, err = r.Execute(unix.NETLINK_GENERIC, 0)
	return err
}

// A kernel thread has no executable and no identity. The one that every kernel
// has is that which opens further sub-flows of a multipath connection.
func TestKernelThreadGoesStraightOn(t *testing.T) {
	h := newHost(t)
	h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: []workload.Condition{named("billing")}})
	h.net.AddLocal(t, open4+"/32")
	must(t, h.net.Do(func() error { return addMultipathEndpoint(net.ParseIP(open4)) }))
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	var listener net.Listener
	must(t, h.net.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp", at(target4))
		return err
	}))
	defer listener.Close()

	c := h.start(t, "curl")
	c.do(t, request{Do: "socket", Socket: "m", Option: "mptcp"})
	before, err := h.probe.Counters()
	must(t, err)
	c.do(t, request{Do: "connect", Socket: "m", Addr: at(target4)})
	conn, err := listener.Accept()
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("D")) // the first data lets the kernel open the second sub-flow
	must(t, err)
	if greeting := c.do(t, request{Do: "read", Socket: "m"}).Text; greeting != "D" {
		t.Errorf("read %q, want the destination's own greeting", greeting)
	}
	lab.Eventually(t, waitLimit, func() error {
		after, err := h.probe.Counters()
		if err == nil && after["kernel_thread"] == before["kernel_thread"] {
			err = fmt.Errorf("no kernel thread connected; the kernel counted %v", after)
		}
		return err
	})
	h.requireNoConnection(t)
}
