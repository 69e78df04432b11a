package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/listen"
)

// authoritySettings are the process settings of lanyard authority.
type authoritySettings struct {
	Listen         string `env:"LANYARD_LISTEN" flag:"listen" usage:"address:port to serve" envDefault:"127.0.0.1:8700"`
	URL            string `env:"LANYARD_AUTHORITY_URL" flag:"url" usage:"base under which everybody reaches the authority; default is http:// and the address"`
	Storage        storageSettings
	TLSCertFile    string  `env:"LANYARD_TLS_CERT_FILE" flag:"tls-cert-file" usage:"PEM certificate chain to serve TLS with"`
	TLSKeyFile     string  `env:"LANYARD_TLS_KEY_FILE" flag:"tls-key-file" usage:"PEM private key of the certificate"`
	AllowInsecure  bool    `env:"LANYARD_ALLOW_INSECURE" flag:"allow-insecure" usage:"serve other machines without TLS, behind a proxy that speaks it"`
	RatePerSecond  float64 `env:"LANYARD_RATE_LIMIT" flag:"rate-limit" usage:"requests per second of one source address" envDefault:"100"`
	RateBurst      int     `env:"LANYARD_RATE_BURST" flag:"rate-burst" usage:"requests that one source address may send at once" envDefault:"200"`
	Workload       workloadRateSettings
	TrustedProxies []string `env:"LANYARD_TRUSTED_PROXIES" flag:"trusted-proxies" usage:"networks of reverse proxies whose X-Forwarded-For or Forwarded says where a request comes from, separated by commas"`
	Tokens         tokenSettings
	Connections    connectionSettings
	Activity       activitySettings
	Log            logSettings
}

// storageSettings say where everything is kept, and how.
type storageSettings struct {
	DataDir              string `env:"LANYARD_DATA_DIR" flag:"data-dir" usage:"folder of everything that is kept"`
	AdminTokenFile       string `env:"LANYARD_ADMIN_TOKEN_FILE" flag:"admin-token-file" usage:"where the first administrator's token is written; default is admin-token in the data folder"`
	KeyEncryptionKey     string `env:"LANYARD_KEY_ENCRYPTION_KEY"` // a secret is no flag: every user sees those
	KeyEncryptionKeyFile string `env:"LANYARD_KEY_ENCRYPTION_KEY_FILE" flag:"key-encryption-key-file" usage:"file with the key that seals the signing keys; default is made in the data folder"`
}

// workloadRateSettings limit one workload.
type workloadRateSettings struct {
	RatePerSecond float64 `env:"LANYARD_WORKLOAD_RATE_LIMIT" flag:"workload-rate-limit" usage:"requests per second of one workload" envDefault:"20"`
	RateBurst     int     `env:"LANYARD_WORKLOAD_RATE_BURST" flag:"workload-rate-burst" usage:"requests that one workload may send at once" envDefault:"100"`
}

// connectionSettings bound the open connections.
type connectionSettings struct {
	All       int `env:"LANYARD_MAX_CONNECTIONS" flag:"max-connections" usage:"connections that may be open at once" envDefault:"4096"`
	PerSource int `env:"LANYARD_MAX_CONNECTIONS_PER_SOURCE" flag:"max-connections-per-source" usage:"connections that one source address may have open at once, trusted proxies excepted" envDefault:"256"`
}

// activitySettings say how much of the activity is kept.
type activitySettings struct {
	Retention        time.Duration `env:"LANYARD_ACTIVITY_RETENTION" flag:"activity-retention" usage:"how long activity is kept, like 720h" envDefault:"2160h"`
	ChangesRetention time.Duration `env:"LANYARD_ACTIVITY_CHANGES_RETENTION" flag:"activity-changes-retention" usage:"how long that of administrators, enrolments and keys is kept; default is as long as the rest"`
	MaxEvents        int64         `env:"LANYARD_ACTIVITY_MAX_EVENTS" flag:"activity-max-events" usage:"how many events of tokens, secrets and refused workloads are kept" envDefault:"5000000"`
}

// tokenSettings say who issues ID tokens, and how they are signed.
type tokenSettings struct {
	Issuer           string        `env:"LANYARD_ISSUER" flag:"issuer" usage:"https URL that is the issuer of ID tokens; default is the operator id, op1:…"`
	SigningAlgorithm string        `env:"LANYARD_SIGNING_ALGORITHM" flag:"signing-algorithm" usage:"of new signing keys: ES256, RS256 or EdDSA" envDefault:"ES256"`
	KeyRotation      time.Duration `env:"LANYARD_KEY_ROTATION" flag:"key-rotation" usage:"how long a signing key signs" envDefault:"720h"`
	MaxTTL           time.Duration `env:"LANYARD_MAX_TOKEN_TTL" flag:"max-token-ttl" usage:"how long an ID token lives at most; 48h is the longest" envDefault:"48h"`
}

func newAuthorityCommand() *cobra.Command {
	var settings authoritySettings
	command := &cobra.Command{
		Use:   "authority",
		Short: "Run the identity authority",
		Long: "Run the identity authority: it enrols workloads by ticket, issues their ID tokens and publishes the\n" +
			"keys to verify them with. At its first start it makes an administrator's token and prints its path.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := readSettings(command, &settings); err != nil {
				return err
			}
			return runAuthority(command.Context(), settings, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	bindSettings(command, &settings)
	command.AddCommand(newBackupCommand(), newRestoreCommand())
	return command
}

func runAuthority(ctx context.Context, settings authoritySettings, stdout, stderr io.Writer) error {
	config, err := settings.config(stderr)
	if err != nil {
		return err
	}
	withTLS := config.TLSCertFile != ""
	if err := authority.CheckListen(settings.Listen, withTLS, settings.AllowInsecure); err != nil {
		return err
	}
	listener, err := listen.TCP(ctx, listen.Config{}, settings.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w; name another address with LANYARD_LISTEN", err)
	}
	// Where localhost is, the name does not tell for sure.
	if err := authority.CheckListen(listener.Addr().String(), withTLS, settings.AllowInsecure); err != nil {
		return errors.Join(err, listener.Close())
	}
	if config.URL == "" {
		if config.URL, err = authority.DefaultURL(listener.Addr(), withTLS); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(authority.GCPercent)
	}
	server, err := authority.New(config)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Fprintf(stdout, "authority: %s\noperator base: %s\nadministrator's token: %s\n",
		config.URL, server.OperatorBase(), server.AdminTokenFile())
	return errors.Join(server.Serve(ctx, listener), server.Close())
}

func (s authoritySettings) config(stderr io.Writer) (authority.Config, error) {
	config, err := s.Storage.config()
	if err != nil {
		return authority.Config{}, err
	}
	if config.Logger, err = s.Log.logger(stderr); err != nil {
		return authority.Config{}, err
	}
	config.URL = s.URL
	config.Issuer = s.Tokens.Issuer
	config.SigningAlgorithm = s.Tokens.SigningAlgorithm
	config.KeyRotation = s.Tokens.KeyRotation
	config.MaxTokenTTL = s.Tokens.MaxTTL
	config.TLSCertFile = s.TLSCertFile
	config.TLSKeyFile = s.TLSKeyFile
	config.RatePerSecond = s.RatePerSecond
	config.RateBurst = s.RateBurst
	config.TrustedProxies = s.TrustedProxies
	config.WorkloadRatePerSecond = s.Workload.RatePerSecond
	config.WorkloadRateBurst = s.Workload.RateBurst
	config.MaxConnections = s.Connections.All
	config.MaxConnectionsPerSource = s.Connections.PerSource
	config.ActivityRetention = s.Activity.Retention
	config.ChangesRetention = s.Activity.ChangesRetention
	config.MaxEvents = s.Activity.MaxEvents
	config.Version = buildVersion()
	return config, nil
}

// config returns the part of the configuration that these settings are.
func (s storageSettings) config() (authority.Config, error) {
	if s.DataDir == "" {
		var err error
		if s.DataDir, err = defaultDataDir(); err != nil {
			return authority.Config{}, err
		}
	}
	return authority.Config{
		DataDir:              s.DataDir,
		AdminTokenFile:       s.AdminTokenFile,
		KeyEncryptionKey:     s.KeyEncryptionKey,
		KeyEncryptionKeyFile: s.KeyEncryptionKeyFile,
	}, nil
}
