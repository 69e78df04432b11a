package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/folderlock"
	"github.com/lanyardhq/lanyard/internal/httpserve"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// GCPercent is the garbage collector's GOGC that suits a process which is an
// authority and nothing else. It keeps some MB; collecting each time that as many
// were allocated anew takes a fifth of its CPU time (docs/performance.md).
const GCPercent = 400

// Authority is a running identity authority. It is safe for concurrent use.
type Authority struct {
	config       Config
	log          *slog.Logger
	now          func() time.Time
	random       io.Reader
	operatorBase string // the one audience of assertions and proofs
	operatorID   string
	// assertionsAfter is when a backup was restored, zero if none was.
	assertionsAfter time.Time

	lock    *folderlock.Lock // of the data folder
	store   *store.Store
	box     *keyring.Box
	keys    *keyring.Keyring
	sources *limiter[netip.Addr]
	callers *limiter[string] // workloads, by id
	proxies []netip.Prefix   // trusted ones

	used       *recent[string, struct{}]       // messages that are good for once
	parsedKeys *recent[string, jose.PublicKey] // of workloads, by their JWK

	activity    *activity
	tidying     sync.Mutex // one tidies at a time
	ageing      *ageing    // of who tidies
	wall        *wallClock // likewise
	streams     *streams
	listings    *places
	costlyReads chan struct{} // held by who reads many rows
	metrics     *metrics
	document    func() (document, error) // made when it is first asked for
	handler     http.Handler

	certificate *httpserve.Certificate // nil without TLS

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
	certificate, err := loadCertificate(config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	lock, err := openDataFolder(ctx, config.DataDir)
	if err != nil {
		stop()
		return nil, err
	}
	s, err := openStore(ctx, config)
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
		sources:      newLimiter[netip.Addr](config.RatePerSecond, config.RateBurst),
		callers:      newLimiter[string](config.WorkloadRatePerSecond, config.WorkloadRateBurst),
		proxies:      proxies,
		used:         newRecent[string, struct{}](maxUsed),
		parsedKeys:   newRecent[string, jose.PublicKey](maxParsedKeys),
		activity:     newActivity(),
		streams:      newStreams(ctx),
		listings:     newPlaces(maxListings, maxListingsOfOne),
		costlyReads:  make(chan struct{}, maxCostlyReads),
		metrics:      newMetrics(),
		certificate:  certificate,
		stop:         stop,
		done:         make(chan struct{}),
	}
	if err := a.setUp(ctx); err != nil {
		stop()
		return nil, errors.Join(err, s.Close(), lock.Release())
	}
	if certificate != nil {
		a.metrics.observeCertificate(certificate.Expires)
	}
	served := a.routes()
	a.document = sync.OnceValues(func() (document, error) { return a.describe(served.kinds) })
	a.handler = a.serveRoutes(served)
	go a.upkeep(ctx)
	return a, nil
}

// openStore opens the database, after a restore that was cut off.
func openStore(ctx context.Context, config Config) (*store.Store, error) {
	replaced, err := finishRestore(config)
	if err != nil {
		return nil, err
	}
	if replaced != "" {
		config.Logger.InfoContext(ctx, "finished a restore that was cut off", "replaced", replaced)
	}
	return store.Open(ctx, filepath.Join(config.DataDir, databaseFile))
}

func (a *Authority) setUp(ctx context.Context) error {
	if err := a.watchClock(ctx); err != nil {
		return err
	}
	keys, err := a.store.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return err
	}
	if a.box, err = a.config.openBox(len(keys) == 0); err != nil {
		return err
	}
	if a.keys, err = a.openKeys(ctx, a.box); err != nil {
		return err
	}
	if a.assertionsAfter, err = assertionsAfter(a.store.Read(ctx)); err != nil {
		return err
	}
	if now := a.now(); a.assertionsAfter.After(now.Add(clockSkew)) {
		return fmt.Errorf("a backup was restored at %s, and the clock says %s: every workload would be refused until then; set the clock, or, if it was wrong at the restore, restore the backup again",
			a.assertionsAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
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
	return errors.Join(a.ensureAdminToken(ctx), a.beginAgeing(ctx))
}

// openBox opens the configured key-encryption key, or the one in the data folder,
// which it may make.
func (c Config) openBox(mayMake bool) (*keyring.Box, error) {
	switch {
	case c.KeyEncryptionKey != "":
		return keyring.NewBox(c.KeyEncryptionKey)
	case c.KeyEncryptionKeyFile != "":
		return keyring.OpenBox(c.KeyEncryptionKeyFile)
	}
	return keyring.OpenOrMakeBox(filepath.Join(c.DataDir, boxKeyFile), mayMake)
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
