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
	"os"
	"path/filepath"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/jose"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/httpserve"
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

	store   *store.Store
	box     *keyring.Box
	keys    *keyring.Keyring
	sources *limiter[netip.Addr]
	callers *limiter[string] // workloads, by id
	proxies []netip.Prefix   // trusted ones

	used       *recent[string, struct{}]       // messages that are good for once
	parsedKeys *recent[string, jose.PublicKey] // of workloads, by their JWK

	activity *activity
	streams  *streams
	metrics  *metrics
	document document
	handler  http.Handler

	certificate *httpserve.Certificate // nil without TLS

	stop context.CancelFunc
	done chan struct{} // closed when the upkeep has ended
}

// New opens the data folder, making on first start what is not there: database,
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
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w; name another one with LANYARD_DATA_DIR, or make it writable for user id %d", err, os.Geteuid())
	}
	ctx, stop := context.WithCancel(context.Background())
	s, err := store.Open(ctx, filepath.Join(config.DataDir, databaseFile))
	if err != nil {
		stop()
		return nil, err
	}
	a := &Authority{
		config:       config,
		log:          config.Logger,
		now:          config.Now,
		random:       config.Rand,
		operatorBase: config.URL + operatorPath,
		store:        s,
		sources:      newLimiter[netip.Addr](config.RatePerSecond, config.RateBurst),
		callers:      newLimiter[string](config.WorkloadRatePerSecond, config.WorkloadRateBurst),
		proxies:      proxies,
		used:         newRecent[string, struct{}](maxUsed),
		parsedKeys:   newRecent[string, jose.PublicKey](maxParsedKeys),
		activity:     newActivity(),
		streams:      newStreams(ctx),
		metrics:      newMetrics(),
		certificate:  certificate,
		stop:         stop,
		done:         make(chan struct{}),
	}
	if err := a.setUp(ctx); err != nil {
		stop()
		return nil, errors.Join(err, s.Close())
	}
	if certificate != nil {
		a.metrics.observeCertificate(certificate.Expires)
	}
	served := a.routes()
	if a.document, err = a.describe(served); err != nil {
		stop()
		return nil, errors.Join(err, s.Close())
	}
	a.handler = a.serveRoutes(served)
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

// Close ends the upkeep and closes the store. Serve must have returned.
func (a *Authority) Close() error {
	a.stop()
	<-a.done
	return a.store.Close()
}
