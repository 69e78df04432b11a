package authority

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/folderlock"
)

// Authority is a running identity authority. It is safe for concurrent use.
type Authority struct {
	config       Config
	log          *slog.Logger
	now          func() time.Time
	random       io.Reader
	operatorBase string // the one audience of assertions and proofs
	operatorID   string

	lock     *folderlock.Lock // of the data folder
	store    *store.Store
	box      *keyring.Box
	keys     *keyring.Keyring
	sources  *sourceLimiter
	proxies  []netip.Prefix // trusted ones
	activity *activity
	streams  *streams
	metrics  *metrics
	handler  http.Handler

	stop context.CancelFunc
	done chan struct{} // closed when the upkeep has ended
}

// New locks and opens the data folder, making on first start what is not there: database,
// signing key, operator id, administrator's token. Call Close when done.
func New(config Config) (*Authority, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	proxies, err := parseProxies(config.TrustedProxies)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	lock, err := openDataFolder(ctx, config.DataDir)
	if err != nil {
		stop()
		return nil, err
	}
	s, err := store.Open(ctx, filepath.Join(config.DataDir, databaseFile))
	if err != nil {
		stop()
		return nil, errors.Join(err, lock.Release())
	}
	a := &Authority{
		config:       config,
		log:          config.Logger,
		now:          config.Now,
		random:       config.Rand,
		operatorBase: config.URL + operatorPath,
		lock:         lock,
		store:        s,
		sources:      newSourceLimiter(config.RatePerSecond, config.RateBurst),
		proxies:      proxies,
		activity:     newActivity(),
		streams:      newStreams(ctx),
		metrics:      newMetrics(),
		stop:         stop,
		done:         make(chan struct{}),
	}
	if err := a.setUp(ctx); err != nil {
		stop()
		return nil, errors.Join(err, s.Close(), lock.Release())
	}
	a.handler = a.routes()
	go a.upkeep(ctx)
	return a, nil
}

func (a *Authority) setUp(ctx context.Context) error {
	box, err := a.openBox(ctx)
	if err != nil {
		return err
	}
	a.box = box
	if a.keys, err = a.openKeys(ctx, box); err != nil {
		return err
	}
	candidate, err := randomID(a.random, prefixOperator)
	if err != nil {
		return err
	}
	err = a.store.Write(ctx, func(tx *store.Tx) (err error) {
		a.operatorID, err = tx.SettingOrInsert("operator_id", candidate)
		return err
	})
	if err != nil {
		return err
	}
	return a.ensureAdminToken(ctx)
}

func (a *Authority) openBox(ctx context.Context) (*keyring.Box, error) {
	if a.config.KeyEncryptionKey != "" {
		return keyring.NewBox(a.config.KeyEncryptionKey)
	}
	if a.config.KeyEncryptionKeyFile != "" {
		return keyring.OpenBox(a.config.KeyEncryptionKeyFile)
	}
	keys, err := a.store.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return nil, err
	}
	return keyring.OpenOrMakeBox(filepath.Join(a.config.DataDir, boxKeyFile), len(keys) == 0)
}

// Handler serves everything: operator API, admin API, health and metrics.
func (a *Authority) Handler() http.Handler { return a.handler }

// OperatorID returns the id that the authority made up for itself, op1:….
func (a *Authority) OperatorID() string { return a.operatorID }

// Issuer returns iss of ID tokens: the configured URL, or else the operator id.
func (a *Authority) Issuer() string { return cmp.Or(a.config.Issuer, a.operatorID) }

// OperatorBase returns the base of the operator API, which ends in /operator.
func (a *Authority) OperatorBase() string { return a.operatorBase }

// AdminTokenFile returns where the first administrator's token was written.
func (a *Authority) AdminTokenFile() string { return a.config.AdminTokenFile }

// Close ends the upkeep, closes the store and lets go of the data folder. Serve must
// have returned.
func (a *Authority) Close() error {
	a.stop()
	<-a.done
	return errors.Join(a.store.Close(), a.lock.Release())
}
