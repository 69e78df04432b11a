package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

const (
	// identity is the name of the one workload, where names are needed.
	identity = "client"

	// readyInterval is how often the token's readiness is looked at. It is less than
	// what the cache takes for disuse, so that the cache renews it for ever.
	readyInterval = token.DefaultIdleAfter / 6
	// failedInterval is the same while there is no token.
	failedInterval = 5 * time.Second

	// connections is how many the local API holds at once, at all its addresses.
	connections = 250

	// stopLimit bounds how long calls under way are waited for.
	stopLimit = 5 * time.Second
)

// ErrConfig says that a client cannot be made of its configuration.
var ErrConfig = errors.New("configuration")

// Config is what a client is made of.
type Config struct {
	Operator operator.Config // its StateDir is the folder of everything that is kept
	LocalAPI []string        // addresses of the local API
	APIKey   string          // "" for one that the first start makes; a secret
	Log      *slog.Logger

	// KeyMaxAge is how old the workload's key becomes; 0 is for ever.
	KeyMaxAge time.Duration
}

// Client is one workload and its local API. Make it with New, and Run it once.
type Client struct {
	log       *slog.Logger
	source    *operator.Client
	tokens    *token.Cache
	serve     func(net.Listener) *http.Server
	listeners []net.Listener
	keyFile   string
	id        string
	renewer   operator.Renewer
}

// New listens, enrols the workload unless it has been, and opens the local API's
// key. The port comes first, so that a taken one costs no ticket. Nothing is
// served before Run. An error leaves nothing open.
func New(ctx context.Context, config Config) (*Client, error) {
	source, err := operator.New(config.Operator)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := &Client{
		log: config.Log, source: source,
		tokens: token.NewCache(token.CacheConfig{Logger: config.Log}),
		renewer: operator.Renewer{
			MaxAge: config.KeyMaxAge, Log: config.Log,
			Clients: func() []*operator.Client { return []*operator.Client{source} },
		},
	}
	if err := c.open(ctx, config); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.tokens.Update(map[string]token.Source{identity: source})
	return c, nil
}

func (c *Client) open(ctx context.Context, config Config) error {
	if err := c.listen(ctx, config.LocalAPI); err != nil {
		return err
	}
	enrolment, err := c.source.Enrol(ctx)
	if err != nil {
		return err
	}
	c.id = enrolment.WorkloadID
	if here := config.Operator.Host; enrolment.Host != "" && enrolment.Host != here {
		c.log.Warn("this folder was enrolled on another host; if it is a copy, two hosts are one workload, and the one that renews "+
			"its key first shuts out the other: enrol this one anew, in a folder of its own",
			"folder", config.Operator.StateDir, "enrolled_on", enrolment.Host, "host", here)
	}
	key, path, err := localapi.OpenKey(config.APIKey, config.Operator.StateDir)
	if err != nil {
		return err
	}
	c.keyFile = path
	api := localapi.New(localapi.Config{
		Log: c.log, Key: key.Always(), Addresses: config.LocalAPI, Tokens: c.tokens,
		Workload: func(string) (localapi.Workload, bool) { return c.source, true },
		Identity: func() string { return identity },
	})
	handler := api.Handler()
	c.serve = func(l net.Listener) *http.Server {
		return localapi.NewServer(handler, localapi.Door{
			Peers: admission.PeersOf(l), Gate: admission.NewGate(connections / max(1, len(c.listeners))), Log: c.log,
		})
	}
	return nil
}

// listen makes the listeners. An IPv6 address is left out where this host has no
// IPv6, unless it is the only one.
func (c *Client) listen(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		l, err := localapi.ListenTCP(ctx, address, "local API")
		switch {
		case err == nil:
			c.listeners = append(c.listeners, l)
			if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
				c.log.Warn("other machines reach this local API address; key and tokens pass the network in the clear", "address", address)
			}
		case localapi.LacksFamily(err) && address[0] == '[' && len(addresses) > 1:
			c.log.Info("local API address left out; this host lacks the family", "address", address)
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("%w; another program has this port, a second client perhaps: choose another with --local-port", err)
		default:
			return err
		}
	}
	return nil
}

// WorkloadID returns the id that the authority gave to the workload.
func (c *Client) WorkloadID() string { return c.id }

// KeyFile returns where the local API's key is, or "" if it was configured.
func (c *Client) KeyFile() string { return c.keyFile }

// Addresses returns where the local API listens.
func (c *Client) Addresses() []string {
	addresses := make([]string, 0, len(c.listeners))
	for _, l := range c.listeners {
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// Run serves the local API, keeps an ID token ready and renews the key until ctx ends or a
// listener fails. It closes everything.
func (c *Client) Run(ctx context.Context) error {
	work, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(c.listeners))
	var parts sync.WaitGroup
	servers := make([]*http.Server, 0, len(c.listeners))
	for _, l := range c.listeners {
		server := c.serve(l)
		servers = append(servers, server)
		parts.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			stop()
		})
	}
	parts.Go(func() { c.keepReady(work) })
	parts.Go(func() { c.renewer.Run(work) })
	<-work.Done()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	for _, server := range servers {
		if err := server.Shutdown(limited); err != nil {
			c.log.Warn("calls of the local API were cut off", "error", err)
			_ = server.Close() // the error is that of the listener, which is closed
		}
	}
	parts.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.close())...)
}

// keepReady has the cache hold an ID token, and logs when there is none and when
// there is one again.
func (c *Client) keepReady(ctx context.Context) {
	ready, told := false, false
	for {
		_, err := c.tokens.Get(ctx, token.Request{Identity: identity})
		if ctx.Err() != nil {
			return
		}
		pause := readyInterval
		switch {
		case err != nil:
			pause = failedInterval
			if ready || !told {
				c.log.Warn("no ID token is ready", "error", err)
			}
			ready, told = false, true
		case !ready:
			c.log.Info("ID token is ready")
			ready = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// close lets go of whatever was opened.
func (c *Client) close() error {
	for _, l := range c.listeners {
		_ = l.Close() // served ones are closed already
	}
	c.tokens.Close()
	return c.source.Close()
}
