package authority

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// ErrConfig marks errors that a change of the configuration would solve.
var ErrConfig = errors.New("configuration")

// Names of the files in the data folder.
const (
	databaseFile   = "lanyard.db"
	lockFile       = "authority.lock" // not "lock": as root, the agent's state is in the same folder
	boxKeyFile     = "key-encryption-key"
	adminTokenFile = "admin-token"
)

// Default limits of one source address, of one workload, and of connections.
const (
	DefaultRatePerSecond         = 100
	DefaultRateBurst             = 200
	DefaultWorkloadRatePerSecond = 20
	DefaultWorkloadRateBurst     = 100

	DefaultMaxConnections          = 4096
	DefaultMaxConnectionsPerSource = 256
)

// DefaultKeyRotation is how long a signing key signs.
const DefaultKeyRotation = 30 * 24 * time.Hour

// DefaultActivityRetention is how long activity is kept.
const DefaultActivityRetention = 90 * 24 * time.Hour

// DefaultMaxEvents is how many events of tokens, secrets and refused workloads are kept.
const DefaultMaxEvents = 5_000_000

// minMaxEvents is the fewest that can be configured.
const minMaxEvents = 100

// Config says how an Authority is made. DataDir and URL are required.
type Config struct {
	// DataDir is the folder of everything that is kept; it is made, 0700, if it is
	// not there.
	DataDir string
	// URL is the base under which everybody reaches the authority: http or https,
	// host, and perhaps a path. Tokens and assertions are bound to it.
	URL string
	// Issuer, an https URL (http on loopback), is iss of ID tokens, and OpenID discovery
	// is served below its path. Without it iss is the operator id.
	Issuer string
	// AdminTokenFile is where the first administrator's token is written; default
	// is admin-token in DataDir. An existing file with such a token is taken over.
	AdminTokenFile string
	// KeyEncryptionKey (32 bytes in base64) or KeyEncryptionKeyFile seal the signing
	// keys; with neither, a key is made in DataDir.
	KeyEncryptionKey     string
	KeyEncryptionKeyFile string
	// SigningAlgorithm is that of new signing keys: ES256 (default), RS256 or EdDSA.
	SigningAlgorithm string
	// KeyRotation is how long a signing key signs; zero means the default.
	KeyRotation time.Duration
	// MaxTokenTTL is how long an ID token lives at most, whatever is asked for; zero
	// means 48 hours, and that is the longest.
	MaxTokenTTL time.Duration
	// TLSCertFile and TLSKeyFile, PEM, make Serve speak TLS; both or none.
	TLSCertFile string
	TLSKeyFile  string
	// RatePerSecond and RateBurst limit the requests of one source address; zero
	// means the defaults.
	RatePerSecond float64
	RateBurst     int
	// WorkloadRatePerSecond and WorkloadRateBurst limit the requests of one workload,
	// wherever it calls from; zero means the defaults.
	WorkloadRatePerSecond float64
	WorkloadRateBurst     int
	// MaxConnections bounds the open connections, and MaxConnectionsPerSource those of
	// one source that is no trusted proxy; zero means the defaults.
	MaxConnections          int
	MaxConnectionsPerSource int
	// TrustedProxies are the networks, or addresses, of reverse proxies that say
	// truly whom they serve; without them a request comes from its connection's peer.
	TrustedProxies []string

	// ActivityRetention is how long activity is kept; zero means the default.
	ActivityRetention time.Duration
	// ChangesRetention is how long that of administrators, enrolments and keys is; zero
	// means as long as the rest.
	ChangesRetention time.Duration
	// MaxEvents is how many events of tokens, secrets and refused workloads are kept, half
	// as many of enrolments and keys, a tenth of unauthenticated refusals; zero means the
	// default.
	MaxEvents int64
	// Version is that of the product, for the OpenAPI document; "" means that it is not
	// known.
	Version string

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
	// Elapsed is what a clock says that nobody sets: the time since some moment. Nil: that
	// of the system.
	Elapsed func() time.Duration
	Rand    io.Reader // of ids and secrets; nil: crypto/rand
}

// withDefaults returns c with every optional field filled, or an ErrConfig.
func (c Config) withDefaults() (Config, error) {
	c, err := c.withStorageDefaults()
	if err != nil {
		return c, err
	}
	if c, err = c.withActivityDefaults(); err != nil {
		return c, err
	}
	base, err := parseBase("LANYARD_AUTHORITY_URL", c.URL)
	if err != nil {
		return c, err
	}
	c.URL = base
	if c.Issuer != "" {
		if err := checkIssuer(c.Issuer); err != nil {
			return c, err
		}
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return c, configError("LANYARD_TLS_CERT_FILE and LANYARD_TLS_KEY_FILE belong together; one is missing")
	}
	if c.KeyRotation == 0 {
		c.KeyRotation = DefaultKeyRotation
	}
	if c.KeyRotation < keyring.MinPeriod {
		return c, configError("LANYARD_KEY_ROTATION %s is shorter than %s", c.KeyRotation, keyring.MinPeriod)
	}
	if c.MaxTokenTTL == 0 {
		c.MaxTokenTTL = maxIDTokenTTL
	}
	if c.MaxTokenTTL < minMaxTokenTTL || c.MaxTokenTTL > maxIDTokenTTL {
		return c, configError("LANYARD_MAX_TOKEN_TTL %s is not between %s and %s", c.MaxTokenTTL, minMaxTokenTTL, maxIDTokenTTL)
	}
	if c.RatePerSecond < 0 || c.RateBurst < 0 || c.WorkloadRatePerSecond < 0 || c.WorkloadRateBurst < 0 {
		return c, configError("the rate limit, of a source or of a workload, is negative")
	}
	if c.MaxConnections < 0 || c.MaxConnectionsPerSource < 0 {
		return c, configError("LANYARD_MAX_CONNECTIONS or LANYARD_MAX_CONNECTIONS_PER_SOURCE is negative")
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultMaxConnections)
	c.MaxConnectionsPerSource = cmp.Or(c.MaxConnectionsPerSource, DefaultMaxConnectionsPerSource)
	if c.RatePerSecond == 0 {
		c.RatePerSecond = DefaultRatePerSecond
	}
	if c.RateBurst == 0 {
		c.RateBurst = DefaultRateBurst
	}
	if c.WorkloadRatePerSecond == 0 {
		c.WorkloadRatePerSecond = DefaultWorkloadRatePerSecond
	}
	if c.WorkloadRateBurst == 0 {
		c.WorkloadRateBurst = DefaultWorkloadRateBurst
	}
	return c, nil
}

// withStorageDefaults fills, and checks, the fields that say what is kept and how.
func (c Config) withStorageDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, configError("the data folder is not named (LANYARD_DATA_DIR)")
	}
	if c.KeyEncryptionKey != "" && c.KeyEncryptionKeyFile != "" {
		return c, configError("LANYARD_KEY_ENCRYPTION_KEY and LANYARD_KEY_ENCRYPTION_KEY_FILE are both set; keep one")
	}
	if c.SigningAlgorithm == "" {
		c.SigningAlgorithm = jose.ES256
	}
	if !slices.Contains(jose.Algorithms(), c.SigningAlgorithm) {
		return c, configError("LANYARD_SIGNING_ALGORITHM %q is none of %s", c.SigningAlgorithm, strings.Join(jose.Algorithms(), ", "))
	}
	if c.AdminTokenFile == "" {
		c.AdminTokenFile = filepath.Join(c.DataDir, adminTokenFile)
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Elapsed == nil {
		began := time.Now()
		c.Elapsed = func() time.Duration { return time.Since(began) }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c, nil
}

// withActivityDefaults fills, and checks, the fields that say what is kept of the activity.
func (c Config) withActivityDefaults() (Config, error) {
	if c.ActivityRetention < 0 || c.ChangesRetention < 0 {
		return c, configError("LANYARD_ACTIVITY_RETENTION or LANYARD_ACTIVITY_CHANGES_RETENTION is negative")
	}
	if c.ActivityRetention == 0 {
		c.ActivityRetention = DefaultActivityRetention
	}
	if c.ChangesRetention == 0 {
		c.ChangesRetention = c.ActivityRetention
	}
	if c.MaxEvents == 0 {
		c.MaxEvents = DefaultMaxEvents
	}
	if c.MaxEvents < minMaxEvents {
		return c, configError("LANYARD_ACTIVITY_MAX_EVENTS %d is less than %d", c.MaxEvents, minMaxEvents)
	}
	return c, nil
}

func configError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, args...))
}

// parseBase checks the URL that the variable holds and returns it without a trailing
// slash.
func parseBase(variable, base string) (string, error) {
	u, err := serverurl.ParseBase(variable, base)
	if err != nil {
		return "", configError("%w", err)
	}
	if strings.ContainsAny(u.Path, "{} ") || u.RawPath != "" || path.Clean("/"+u.Path) != "/"+strings.Trim(u.Path, "/") {
		return "", configError("%s has a path that cannot be served", variable)
	}
	return strings.TrimRight(base, "/"), nil
}

// checkIssuer accepts what OpenID Connect Discovery 1.0 section 3 allows as an issuer,
// and http on loopback.
func checkIssuer(issuer string) error {
	if _, err := parseBase("LANYARD_ISSUER", issuer); err != nil {
		return err
	}
	if u, err := url.Parse(issuer); err != nil || serverurl.InTheClear(u) {
		return configError("LANYARD_ISSUER must begin with https://: whoever can change what verifiers fetch there makes their tokens")
	}
	return nil
}

// CheckListen refuses, as an ErrConfig, to serve plain HTTP to other machines: tokens
// and tickets would cross the network in the clear.
func CheckListen(address string, tls, allowInsecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return configError("LANYARD_LISTEN %q is not address:port", address)
	}
	if tls || allowInsecure || serverurl.IsLoopback(host) {
		return nil
	}
	return configError("LANYARD_LISTEN %q is reachable from other machines without TLS; set LANYARD_TLS_CERT_FILE and LANYARD_TLS_KEY_FILE, or say --allow-insecure behind a proxy that speaks TLS", address)
}

// DefaultURL is the external base of an authority that listens on addr.
func DefaultURL(addr net.Addr, tls bool) (string, error) {
	parsed, err := netip.ParseAddrPort(addr.String())
	if err != nil || parsed.Addr().IsUnspecified() {
		return "", configError("LANYARD_AUTHORITY_URL is not set, and %s is no address that others can be given", addr)
	}
	if tls {
		return "https://" + parsed.String(), nil
	}
	return "http://" + parsed.String(), nil
}
