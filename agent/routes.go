//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/probe"
)

const (
	routeBufferSize = 64
	routeAttempts   = 5
	// routeSettle gathers a burst of changes; routePoll notices what a lost
	// message would have said.
	routeSettle = 50 * time.Millisecond
	routePoll   = 10 * time.Second
)

// routable reports whether this namespace has a route of the family that leads
// beyond loopback. Without one the kernel's own answer to a connect() is right,
// and a redirect would turn it into a lie.
func routable(family probe.Family) (bool, error) {
	return anyLeads(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(int(family), &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
}

// anyLeads looks for a route that leads somewhere. A list that changed while the
// kernel wrote it may lack some, but what is in it is good.
func anyLeads(list func() ([]netlink.Route, error)) (bool, error) {
	for range routeAttempts {
		routes, err := list()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return false, fmt.Errorf("list routes: %w", err)
		}
		for i := range routes {
			if leadsSomewhere(&routes[i]) {
				return true, nil
			}
		}
		if err == nil {
			return false, nil
		}
	}
	return false, fmt.Errorf("list routes: they changed during each of %d attempts", routeAttempts)
}

func leadsSomewhere(r *netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST && r.Type != unix.RTN_LOCAL {
		return false
	}
	if r.Dst == nil {
		return true
	}
	to := r.Dst.IP
	return !to.IsLoopback() && !to.IsLinkLocalUnicast() && !to.IsMulticast()
}

// partRoutes is the part of health that hears of changed routes.
const partRoutes = "routes"

// keepRoutes keeps the kernel's view of what leads somewhere up to date until ctx ends.
// Where it hears of no changes, it looks every few seconds.
func (a *Agent) keepRoutes(ctx context.Context) {
	for {
		err := watchRoutes(ctx, a.routesChanged)
		if err == nil {
			a.health.ok(partRoutes)
			return
		}
		if a.health.degrade(partRoutes, err.Error()) {
			a.log.Warn("changes of routes are looked for, and not heard of", "error", err, "every", retryPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryPause):
			a.routesChanged()
		}
	}
}

// routesChanged tells the kernel of changed routes. Where that fails, the former view
// holds until the next look.
func (a *Agent) routesChanged() {
	if err := a.here.announce(); err != nil {
		a.log.Warn("the kernel was not told of changed routes", "error", err)
	}
	a.tellSources()
}

// watchRoutes calls changed after the namespace's routes may have changed, until
// ctx ends.
func watchRoutes(ctx context.Context, changed func()) error {
	updates := make(chan netlink.RouteUpdate, routeBufferSize)
	done := make(chan struct{})
	defer close(done)
	err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{
		ErrorCallback: func(error) {}, // the poll below makes up for what is lost
	})
	if err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	poll := time.NewTicker(routePoll)
	defer poll.Stop()
	settle := time.NewTimer(routePoll)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				updates = nil // the subscription ended: the poll goes on
				continue
			}
			settle.Reset(routeSettle)
			continue
		case <-settle.C:
		case <-poll.C:
		}
		changed()
	}
}
