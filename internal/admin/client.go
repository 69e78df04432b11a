package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// Limits of a request.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 8 << 20
)

// ErrConfig marks errors that a change of the configuration would solve.
var ErrConfig = errors.New("configuration")

// Config says where the authority is and who asks. URL and TokenFile are required.
type Config struct {
	URL       string // the authority's base
	TokenFile string // holds the administrator's token
	CAFile    string // PEM; "" means the system's
	// AllowInsecure permits http:// to a host that is not loopback.
	AllowInsecure bool
}

// Client asks the admin API. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// StatusError is an answer that is no success.
type StatusError struct {
	Code    int
	Message string
}

// Error repeats what the authority said.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the authority answers %d: %s", e.Code, e.Message)
}

// New checks the configuration and reads the administrator's token.
func New(config Config) (*Client, error) {
	base, err := checkURL(config.URL, config.AllowInsecure)
	if err != nil {
		return nil, err
	}
	roots, err := serverurl.ReadRoots(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	token, err := privatefile.ReadLent(config.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read administrator's token: %s is not there; the authority writes it at its first start: copy it here, or name it with LANYARD_ADMIN_TOKEN_FILE", config.TokenFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read administrator's token: %w", err)
	}
	return &Client{base: base, token: token, http: &http.Client{
		Timeout: requestTimeout,
		// The token must not follow a redirect to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: serverurl.WithoutUpgrade(&http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			DialContext:     serverurl.DialContext(0),
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}),
	}}, nil
}

func checkURL(base string, allowInsecure bool) (string, error) {
	u, err := serverurl.ParseBase("LANYARD_AUTHORITY_URL", base)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !allowInsecure && serverurl.InTheClear(u) {
		return "", fmt.Errorf("%w: LANYARD_AUTHORITY_URL %q would send the administrator's token in the clear; use https, or say --allow-insecure", ErrConfig, base)
	}
	return strings.TrimRight(base, "/"), nil
}

// do asks and decodes the answer into out.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	answer, err := c.ask(ctx, method, path, nil, in)
	if err != nil {
		return err
	}
	return c.decode(answer.body, out)
}

// answer is a success.
type answer struct {
	status int
	etag   string
	body   []byte
}

// ask sends a request, with in as its body unless that is nil. What is no success
// is an error.
func (c *Client) ask(ctx context.Context, method, path string, header map[string]string, in any) (answer, error) {
	request, err := c.request(ctx, method, path, header, in)
	if err != nil {
		return answer{}, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, c.explain(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read authority's answer: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return answer{}, c.statusError(response.StatusCode, data)
	}
	return answer{status: response.StatusCode, etag: response.Header.Get("ETag"), body: data}, nil
}

func (c *Client) request(ctx context.Context, method, path string, header map[string]string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("ask authority: %w", err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask authority: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	return request, nil
}

func (c *Client) decode(body []byte, out any) error {
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read authority's answer: it is not the JSON of the admin API; is LANYARD_AUTHORITY_URL %s right?", c.base)
	}
	return nil
}

func (c *Client) explain(err error) error {
	var notConnected *net.OpError
	if errors.As(err, &notConnected) && notConnected.Op == "dial" {
		return fmt.Errorf("ask authority: %w; is it running? LANYARD_AUTHORITY_URL is %s", err, c.base)
	}
	if strings.Contains(err.Error(), c.token) { // net/http quotes what is no HTTP
		return fmt.Errorf("ask authority: what answers at %s does not speak HTTP; is LANYARD_AUTHORITY_URL right?", c.base)
	}
	return fmt.Errorf("ask authority: %w", err)
}

// statusError repeats what the other side said, unless that is our own token sent
// back: whatever answers at a wrong address may do that.
func (c *Client) statusError(code int, body []byte) error {
	var said resource.Error
	if json.Unmarshal(body, &said) != nil || said.Message == "" || strings.Contains(said.Message, c.token) {
		said.Message = http.StatusText(code) + "; is LANYARD_AUTHORITY_URL right?"
	}
	return &StatusError{Code: code, Message: said.Message}
}
