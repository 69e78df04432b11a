package authority

import (
	"net"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// declareNetworks makes a list what is said.
func (f *fixture) declareNetworks(name string, cidrs ...string) {
	f.t.Helper()
	body := map[string]any{"spec": resource.NetworkListSpec{CIDRs: cidrs}}
	if got := f.send("PUT", resource.NetworkListsPath+"/"+name, "Bearer "+f.admin, body); got.status/100 != 2 {
		f.t.Fatalf("network list: %d %s", got.status, got.body)
	}
}

func TestNetworkListLife(t *testing.T) {
	f := start(t)
	as := "Bearer " + f.admin
	path := resource.NetworkListsPath + "/office"
	var list resource.NetworkList
	f.send("PUT", path, as, `{"spec":{"description":"Zürich","cidrs":["192.0.2.0/24","2001:DB8:0::/32","198.51.100.7","::ffff:203.0.113.0/120"]}}`).decode(t, 201, &list)
	want := resource.NetworkList{Kind: "NetworkList", Name: "office",
		Spec:   resource.NetworkListSpec{Description: "Zürich", CIDRs: []string{"192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32", "203.0.113.0/24"}},
		Status: resource.NetworkListStatus{CreatedAt: startTime, UpdatedAt: startTime}}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("made %+v, want %+v", list, want)
	}
	if e := f.events()[0]; e.Kind != "network_list.create" || e.Resource != "NetworkList/office" || e.AdminID == "" {
		t.Errorf("activity %+v", e)
	}
	ticket := f.createTicket(resource.TicketSpec{Networks: []string{"public-access", "office"}})
	if !reflect.DeepEqual(ticket.Spec.Networks, []string{"public-access", "office"}) {
		t.Errorf("networks %v", ticket.Spec.Networks)
	}
	if message := f.send("DELETE", path, as, nil).refused(t, 409); !strings.Contains(message, "refers to the network list") {
		t.Errorf("told %q", message)
	}
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, as, `{"spec":{"networks":["elsewhere"]}}`).refused(t, 400)
	f.send("DELETE", path, as, nil).refused(t, 409) // the failed change took nothing away
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, as, `{"spec":{"networks":null}}`).decode(t, 200, &ticket)
	if got := f.send("DELETE", path, as, nil).status; got != 204 {
		t.Errorf("removal of a list that nothing names: %d", got)
	}
	// Removing a ticket ends what it names.
	f.declareNetworks("office", "192.0.2.0/24")
	ticket = f.createTicket(resource.TicketSpec{Networks: []string{"office"}})
	f.send("DELETE", resource.TicketsPath+"/"+ticket.Name, as, nil)
	if got := f.send("DELETE", path, as, nil).status; got != 204 {
		t.Errorf("removal after the ticket's: %d", got)
	}
}

func TestPublicAccessStays(t *testing.T) {
	f := start(t)
	as := "Bearer " + f.admin
	path := resource.NetworkListsPath + "/" + resource.PublicAccess
	var before, after resource.NetworkList
	f.send("GET", path, as, nil).decode(t, 200, &before)
	if !reflect.DeepEqual(before.Spec.CIDRs, []string{"0.0.0.0/0", "::/0"}) {
		t.Errorf("public-access is %v", before.Spec.CIDRs)
	}
	f.send("DELETE", path, as, nil).refused(t, 409)
	f.send("PATCH", path, as, `{"spec":{"cidrs":["192.0.2.0/24"]}}`).refused(t, 409)
	f.send("PUT", path, as, `{"spec":{"cidrs":["192.0.2.0/24"]}}`).refused(t, 409)
	f.send("POST", resource.NetworkListsPath, as, `{"name":"public-access","spec":{"cidrs":["192.0.2.0/24"]}}`).refused(t, 409)
	f.restart()
	f.send("GET", path, as, nil).decode(t, 200, &after)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("public-access became %+v", after)
	}
}

func TestNetworkListSpecs(t *testing.T) {
	f := start(t)
	for name, tt := range map[string]struct{ cidrs, says string }{
		"none":             {`[]`, "1 to"},
		"left out":         {`null`, "1 to"},
		"too many":         {`["10.0.0.1"` + strings.Repeat(`,"10.0.0.2"`, maxCIDRs) + `]`, "1 to"},
		"a string":         {`"10.0.0.0/8"`, "cidrs"},
		"a name":           {`["localhost"]`, "no network"},
		"empty":            {`[""]`, "no network"},
		"too long":         {`["10.0.0.0/33"]`, "no network"},
		"leading zero":     {`["10.0.0.08/8"]`, "no network"},
		"zone":             {`["fe80::1%eth0"]`, "no network"},
		"mask":             {`["10.0.0.0/255.0.0.0"]`, "no network"},
		"host bits":        {`["10.0.0.1/8"]`, "10.0.0.0/8"},
		"wide mapped":      {`["::ffff:0.0.0.0/95"]`, "wider"},
		"twice":            {`["10.0.0.1","10.0.0.1/32"]`, "twice"},
		"twice, as mapped": {`["10.0.0.1","::ffff:10.0.0.1"]`, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			message := f.send("PUT", resource.NetworkListsPath+"/x", "Bearer "+f.admin, `{"spec":{"cidrs":`+tt.cidrs+`}}`).refused(t, 400)
			if !strings.Contains(message, tt.says) {
				t.Errorf("message %q does not say %q", message, tt.says)
			}
		})
	}
	f.send("POST", resource.NetworkListsPath, "Bearer "+f.admin, `{"spec":{"cidrs":["10.0.0.0/8"]}}`).refused(t, 400) // no name
}

func TestNetworksAtEveryContact(t *testing.T) {
	f := start(t)
	f.declareNetworks("here", "127.0.0.1")
	ticket := f.createTicket(resource.TicketSpec{Networks: []string{"here"}})
	m := f.enrol(ticket.Ticket)
	decodeToken(t, m.idToken(nil))

	f.declareNetworks("here", "192.0.2.0/24", "::/0")
	if message := m.idToken(nil).refused(t, 403); !strings.Contains(message, controlNetworks) {
		t.Errorf("told %q", message)
	}
	if e := f.events()[0]; e.Allowed || e.WorkloadID != m.id || e.TicketID != ticket.Name || e.Reason != "networks: 127.0.0.1 is in none of here" {
		t.Errorf("activity %+v", e)
	}
	for _, who := range []*member{m, f.newMember()} {
		who.register(ticket.Ticket).refused(t, 401)
		if e := f.events()[0]; e.Allowed || e.WorkloadID != who.id || e.TicketID != ticket.Name || !strings.HasPrefix(e.Reason, controlNetworks) {
			t.Errorf("activity %+v", e)
		}
	}

	f.declareNetworks("there", "127.0.0.0/8")
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"networks":["here","there"]}}`).decode(t, 200, &ticket)
	decodeToken(t, m.idToken(nil)) // one of them is enough
	f.enrol(ticket.Ticket)
}

// TestCheckNetworks: IPv4 is IPv4, however it is written, and an address that is
// not known is in no list.
func TestCheckNetworks(t *testing.T) {
	f := start(t)
	for _, tt := range []struct {
		peer    string
		cidrs   []string
		allowed bool
	}{
		{"192.0.2.1:5", []string{"192.0.2.0/24"}, true},
		{"192.0.3.1:5", []string{"192.0.2.0/24"}, false},
		{"[::ffff:192.0.2.1]:5", []string{"192.0.2.0/24"}, true},
		{"192.0.2.1:5", []string{"::ffff:192.0.2.0/120"}, true},
		{"[::ffff:192.0.2.1]:5", []string{"::/0"}, false},
		{"192.0.2.1:5", []string{"::/0"}, false},
		{"[2001:db8::1]:5", []string{"0.0.0.0/0"}, false},
		{"[2001:db8::1]:5", []string{"0.0.0.0/0", "2001:db8::/32"}, true},
		{"[fe80::1%eth0]:5", []string{"fe80::/10"}, true},
		{"@", []string{"0.0.0.0/0", "::/0"}, false},
	} {
		f.declareNetworks("tested", tt.cidrs...)
		ticket := f.createTicket(resource.TicketSpec{Networks: []string{"tested"}})
		v, err := checkNetworks(f.store.Read(t.Context()), store.Ticket{ID: ticket.Name, Networks: ticket.Spec.Networks}, f.source(requestFrom(tt.peer)))
		if err != nil || (v == nil) != tt.allowed {
			t.Errorf("%s in %v: %v, %v", tt.peer, tt.cidrs, v, err)
		}
	}
	public := f.createTicket(resource.TicketSpec{Networks: []string{resource.PublicAccess}})
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		v, err := checkNetworks(f.store.Read(t.Context()), store.Ticket{ID: public.Name, Networks: public.Spec.Networks}, source{addr: netip.MustParseAddr(addr)})
		if err != nil || v != nil {
			t.Errorf("%s has no public access: %v, %v", addr, v, err)
		}
	}
}

// TestNetworksOfBothFamilies: over real sockets, of which one serves both.
func TestNetworksOfBothFamilies(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{Networks: []string{resource.PublicAccess}})
	listener, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(f.Handler())
	_ = server.Listener.Close() // it is replaced
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, tt := range []struct{ host, inside, outside string }{
		{"::1", "::1/128", "0.0.0.0/0"},
		{"127.0.0.1", "127.0.0.0/8", "::/0"},
	} {
		f.base = "http://" + net.JoinHostPort(tt.host, strconv.Itoa(int(port)))
		f.declareNetworks("tested", tt.inside)
		f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"networks":["tested"]}}`).decode(t, 200, &ticket)
		m := f.enrol(ticket.Ticket)
		f.declareNetworks("tested", tt.outside)
		m.idToken(nil).refused(t, 403)
		if e := f.events()[0]; e.Source != tt.host || !strings.HasPrefix(e.Reason, controlNetworks) {
			t.Errorf("activity %+v", e)
		}
	}
}
