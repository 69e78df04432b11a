//go:build linux

package agent

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/lanyardhq/lanyard/internal/probe"
)

// drainLimit is how long a stopping agent waits for requests on their way.
const drainLimit = 30 * time.Second

// drain is the first half of a stop. The order matters: from the first step on the fail
// policy holds for new connections, and one that was redirected before is still accepted
// and served.
func (a *Agent) drain(ctx context.Context, listeners []*optional) error {
	a.health.fail(partAgent, "stopping")
	a.log.Info("stopping; identities are refused at closed destinations from now on, and requests on their way finish")
	a.report(a.manager.Stopping("requests on their way finish"))
	err := a.probe.StopRedirecting()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	a.awaitAccepted(limited)
	if drainErr := a.injector.Shutdown(limited); drainErr != nil {
		a.log.Warn("connections were cut off", "error", drainErr)
	}
	for _, l := range listeners {
		err = errors.Join(err, l.shutdown(limited))
	}
	return err
}

// awaitAccepted waits until connections that were redirected already have been
// accepted, a second at most.
func (a *Agent) awaitAccepted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if a.probe.Pending() == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// closeParts closes whatever was made.
func (a *Agent) closeParts() error {
	var errs []error
	if a.resolver != nil {
		a.resolver.Close()
	}
	if a.tokens != nil {
		a.tokens.Close()
	}
	errs = append(errs, a.sources.closeDropped(nil))
	if a.here != nil {
		if err := a.here.close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, a.before.close())
	if a.farEnds != nil {
		errs = append(errs, a.farEnds.close())
	}
	if a.attributor != nil {
		errs = append(errs, a.attributor.Close())
	}
	return errors.Join(append(errs, a.letGo())...)
}

// letGo lets go of the kernel half, and says what of it stays, and how to remove that.
func (a *Agent) letGo() error {
	if a.probe == nil {
		a.sayWhatHolds()
		return nil
	}
	a.closing.Lock()
	answered := a.answers
	a.closing.Unlock()
	unpinned := a.probe.Pins()
	switch {
	case !answered:
		err := a.probe.Abandon()
		a.sayWhatHolds()
		return err
	case unpinned != nil:
		a.log.Warn("ended; hooks and maps could not be pinned and end with this process, so that closed destinations are open from now on", "error", unpinned)
		return a.probe.Leave()
	default:
		if err := a.probe.Outlives(); err != nil {
			a.log.Warn("hooks and pins may end with the agent's container, and closed destinations be open from then on", "reason", err)
		}
		err := a.probe.Leave()
		a.log.Info("ended; hooks and pins stay, so that identities are refused at closed destinations, and all else passes, until an agent of this instance runs again",
			"pins", a.probe.PinFolder(), "remove", a.uninstallCommand(), "or", "rm -r "+a.probe.PinFolder())
		return err
	}
}

// sayWhatHolds says, of an agent that did not start, what a former one left.
func (a *Agent) sayWhatHolds() {
	folder := probe.LeftBehind(a.settings.BPFFS, a.settings.Instance)
	if folder == "" {
		return
	}
	a.log.Warn("not started; hooks and pins of a former agent stay, so that identities are refused at closed destinations, and all else passes",
		"pins", folder, "remove", a.uninstallCommand(), "or", "rm -r "+folder)
}

// uninstallCommand is how to remove this agent's instance.
func (a *Agent) uninstallCommand() string {
	command := "lanyard agent --uninstall"
	if a.settings.Instance != DefaultInstance {
		command += " --instance " + a.settings.Instance
	}
	if a.settings.BPFFS != DefaultBPFFS {
		command += " --bpffs " + a.settings.BPFFS
	}
	return command
}
