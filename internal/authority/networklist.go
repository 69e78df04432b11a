package authority

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// maxCIDRs bounds a network list.
const maxCIDRs = 256

// networkLists is the kind of named source networks.
func (a *Authority) networkLists() kind[resource.NetworkListSpec, resource.NetworkListStatus] {
	return kind[resource.NetworkListSpec, resource.NetworkListStatus]{
		name: resource.KindNetworkList, path: resource.NetworkListsPath, noun: "network_list",
		check: checkNetworkListSpec,
		mark:  func(event *store.Event, name string) { event.Resource = resource.KindNetworkList + "/" + name },
		show: func(q store.Queries, name string, _ time.Time) (declared[resource.NetworkListSpec, resource.NetworkListStatus], error) {
			list, err := q.NetworkList(name)
			return declaredNetworkList(list), err
		},
		list: func(q store.Queries, after string, limit int, _ time.Time) ([]declared[resource.NetworkListSpec, resource.NetworkListStatus], error) {
			lists, err := q.NetworkLists(after, limit)
			all := make([]declared[resource.NetworkListSpec, resource.NetworkListStatus], len(lists))
			for i, list := range lists {
				all[i] = declaredNetworkList(list)
			}
			return all, err
		},
		insert: func(tx *store.Tx, name string, spec resource.NetworkListSpec, now time.Time) (minted, error) {
			return minted{}, tx.InsertNetworkList(networkListOf(name, spec, now))
		},
		update: func(tx *store.Tx, name string, spec resource.NetworkListSpec, now time.Time) error {
			if err := keepPublicAccess(name); err != nil {
				return err
			}
			return tx.UpdateNetworkList(networkListOf(name, spec, now))
		},
		remove: func(tx *store.Tx, name string) error {
			if err := keepPublicAccess(name); err != nil {
				return err
			}
			return tx.DeleteNetworkList(name)
		},
	}
}

// keepPublicAccess refuses to change what its name promises.
func keepPublicAccess(name string) error {
	if name != resource.PublicAccess {
		return nil
	}
	return &refusal{status: http.StatusConflict, message: resource.PublicAccess + " is every address, and stays so; make a list of another name"}
}

// checkNetworkListSpec also gives each network its one spelling.
func checkNetworkListSpec(spec, _ *resource.NetworkListSpec, _ time.Time) error {
	if err := checkDescription(spec.Description); err != nil {
		return err
	}
	if len(spec.CIDRs) == 0 || len(spec.CIDRs) > maxCIDRs {
		return badRequest("cidrs: there must be 1 to %d; a list of nothing would refuse everybody", maxCIDRs)
	}
	cidrs := make([]string, len(spec.CIDRs))
	for i, text := range spec.CIDRs {
		network, err := parseNetwork(text)
		if err != nil {
			return badRequest("cidrs: %s", err)
		}
		if cidrs[i] = network.String(); slices.Contains(cidrs[:i], cidrs[i]) {
			return badRequest("cidrs: %s occurs twice", network)
		}
	}
	spec.CIDRs = cidrs
	return nil
}

// parseNetwork reads a CIDR, or an address as a network of one. IPv4 written as
// IPv6 is IPv4, as it is where a source is looked at.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.50q is no network like 192.0.2.0/24 or 2001:db8::/32", text)
	}
	if addr := network.Addr(); addr.Is4In6() {
		if network.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q is wider than IPv4 as IPv6; write the IPv4 network", text)
		}
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
	}
	if network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length; is it %s?", network, network.Masked())
	}
	return network, nil
}

func networkListOf(name string, spec resource.NetworkListSpec, now time.Time) store.NetworkList {
	return store.NetworkList{Name: name, Description: spec.Description, CIDRs: spec.CIDRs, CreatedAt: now, UpdatedAt: now}
}

func declaredNetworkList(l store.NetworkList) declared[resource.NetworkListSpec, resource.NetworkListStatus] {
	return declared[resource.NetworkListSpec, resource.NetworkListStatus]{
		Object: resource.NetworkList{
			Kind: resource.KindNetworkList, Name: l.Name,
			Spec:   resource.NetworkListSpec{Description: l.Description, CIDRs: append([]string{}, l.CIDRs...)},
			Status: resource.NetworkListStatus{CreatedAt: l.CreatedAt, UpdatedAt: l.UpdatedAt},
		},
		version: l.Version,
	}
}

// checkTicketNetworks looks at the form of the names; the database knows the lists.
func checkTicketNetworks(names []string) error {
	if len(names) > maxTicketNetworks {
		return badRequest("networks: more than %d", maxTicketNetworks)
	}
	for i, name := range names {
		if !chosenName.MatchString(name) || slices.Contains(names[:i], name) {
			return badRequest("networks are different names of network lists")
		}
	}
	return nil
}

func checkListsExist(q store.Queries, names []string) error {
	for _, name := range names {
		if _, err := q.NetworkList(name); errors.Is(err, store.ErrNotFound) {
			return badRequest("networks: there is no network list %q", name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// checkNetworks evaluates the ticket's control of where a contact comes from. The
// lists are read anew each time, so that a change holds at once.
func checkNetworks(q store.Queries, t store.Ticket, from source) (*violation, error) {
	if len(t.Networks) == 0 {
		return nil, nil
	}
	if from.doubt != "" {
		return &violation{controlNetworks, "the source address is not known: " + from.doubt}, nil
	}
	lists, err := q.NetworksOfTicket(t.ID)
	if err != nil {
		return nil, err
	}
	for _, list := range lists {
		for _, text := range list.CIDRs {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("read network list %s: %w", list.Name, err)
			}
			if network.Contains(from.addr) {
				return nil, nil
			}
		}
	}
	return &violation{controlNetworks, fmt.Sprintf("%s is in none of %s", from.addr, strings.Join(t.Networks, ", "))}, nil
}
