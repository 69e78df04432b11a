package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/verify"
)

// verifySettings are the process settings of lanyard verify.
type verifySettings struct {
	AuthorityURL  string `env:"LANYARD_AUTHORITY_URL" flag:"authority" usage:"base of the authority" envDefault:"http://127.0.0.1:8700"`
	KeysURL       string `env:"LANYARD_JWKS_URL" flag:"jwks-url" usage:"where the issuer publishes its keys; default is the authority's"`
	Audience      string `env:"LANYARD_AUDIENCE" flag:"audience" usage:"what a token must be for"`
	AnyAudience   bool   `env:"LANYARD_ANY_AUDIENCE" flag:"any-audience" usage:"take a token whatever it is for"`
	Issuer        string `env:"LANYARD_ISSUER" flag:"issuer" usage:"who a token must be from; default is whoever has the keys"`
	CAFile        string `env:"LANYARD_CA_FILE" flag:"ca-file" usage:"PEM certificates that the keys' server must chain to; default is the system's"`
	AllowInsecure bool   `env:"LANYARD_ALLOW_INSECURE" flag:"allow-insecure" usage:"fetch the keys over http:// from other machines"`
	Listen        string `env:"LANYARD_VERIFY_LISTEN" flag:"listen" usage:"address:port to answer a reverse proxy's forward-auth requests at"`
	Log           logSettings
}

func newVerifyCommand() *cobra.Command {
	var settings verifySettings
	command := &cobra.Command{
		Use:   "verify [TOKEN]",
		Short: "Check a token by the issuer's keys, or answer a reverse proxy that asks",
		Long: "Check a token (- or none: from standard input) by the keys that its issuer publishes, and show its claims.\n" +
			"With --listen, answer the forward-auth requests of nginx (auth_request), Caddy, Traefik or Envoy: 200 with\n" +
			"X-Lanyard-* fields that say who calls, else 401. A request that carries no valid token never gets 200.",
		Args: cobra.MaximumNArgs(1),
	}
	output := addOutputFlag(command)
	bindSettings(command, &settings)
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := readSettings(command, &settings); err != nil {
			return err
		}
		if settings.Listen == "" {
			return settings.verifyOne(command, args, output)
		}
		if len(args) > 0 {
			return usageError{errors.New("give a token or --listen, not both")}
		}
		return settings.serve(command.Context(), command.OutOrStdout(), command.ErrOrStderr())
	}
	return command
}

func (s verifySettings) verifier(ctx context.Context, log *slog.Logger) (*verify.Verifier, error) {
	client, err := verify.NewClient(s.CAFile)
	if err != nil {
		return nil, err
	}
	return verify.New(ctx, verify.Config{
		KeysURL:       cmp.Or(s.KeysURL, strings.TrimRight(s.AuthorityURL, "/")+"/operator/.well-known/jwks.json"),
		Audience:      s.Audience,
		AnyAudience:   s.AnyAudience,
		Issuer:        s.Issuer,
		AllowInsecure: s.AllowInsecure,
		Client:        client,
		Log:           log,
	})
}

// maxTokenInput bounds what is read of standard input.
const maxTokenInput = 64 << 10

func (s verifySettings) verifyOne(command *cobra.Command, args []string, output *outputFlag) error {
	verifier, err := s.verifier(command.Context(), nil) // what goes wrong is in the error
	if err != nil {
		return err
	}
	defer verifier.Close()
	var compact string
	if len(args) == 1 && args[0] != "-" {
		compact = args[0]
	} else {
		text, err := io.ReadAll(io.LimitReader(command.InOrStdin(), maxTokenInput))
		if err != nil {
			return fmt.Errorf("read token: %w", err)
		}
		compact = string(text)
	}
	// What ends a file or a line is not the token's; a space anywhere else is.
	claims, err := verifier.Verify(command.Context(), strings.Trim(compact, " \t\r\n"))
	if err != nil {
		return fmt.Errorf("verify token: %w", err)
	}
	return output.print(command.OutOrStdout(), claims, func(w io.Writer) { printClaims(w, claims) })
}

func printClaims(w io.Writer, claims verify.Claims) {
	fmt.Fprintf(w, "workload\t%s\n", shown(claims.Subject))
	fmt.Fprintf(w, "issuer\t%s\n", shown(claims.Issuer))
	fmt.Fprintf(w, "audience\t%s\n", shown(claims.Audience...))
	fmt.Fprintf(w, "tags\t%s\n", shown(claims.Tags...))
	fmt.Fprintf(w, "token id\t%s\n", shown(claims.TokenID))
	issued := "none"
	if !claims.Issued.IsZero() {
		issued = claims.Issued.Local().Format(time.RFC3339)
	}
	fmt.Fprintf(w, "issued\t%s\n", issued)
	fmt.Fprintf(w, "expires\t%s\n", claims.Expires.Local().Format(time.RFC3339))
}

// shown returns texts of a claim on one line, each as it is where it is a word of
// printable ASCII, and quoted where it could pass for more than one, for another
// line, or for another text that looks the same.
func shown(values ...string) string {
	var words []string
	for _, value := range values {
		if quoted := strconv.QuoteToASCII(value); quoted != `"`+value+`"` || strings.Contains(value, " ") {
			value = quoted
		}
		if value != "" {
			words = append(words, value)
		}
	}
	return cmp.Or(strings.Join(words, " "), "none")
}

func (s verifySettings) serve(ctx context.Context, stdout, stderr io.Writer) error {
	logger, err := s.Log.logger(stderr)
	if err != nil {
		return err
	}
	verifier, err := s.verifier(ctx, logger)
	if err != nil {
		return err
	}
	defer verifier.Close()
	listener, err := listen.TCP(ctx, listen.Config{}, s.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w; name another address with --listen", err)
	}
	fmt.Fprintf(stdout, "forward auth: http://%s\n", listener.Addr())
	return verify.Serve(ctx, listener, verifier.ForwardAuth(), logger)
}
