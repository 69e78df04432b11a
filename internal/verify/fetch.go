package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// maxKeys bounds a set of keys, in bytes.
const maxKeys = 1 << 20

// fetcher gets an issuer's key set (RFC 7517 section 5) from one URL.
type fetcher struct {
	url    string
	client *http.Client
}

// newFetcher returns a fetcher by that client, except that it never goes where an
// answer points: keys are those of the place that was configured, and of no other.
func newFetcher(url string, client *http.Client) fetcher {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return fetcher{url: url, client: &own}
}

// fetch gets the keys. It takes fetchTimeout at most. An error does not repeat the
// URL.
func (f fetcher) fetch(ctx context.Context) (jose.KeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return jose.KeySet{}, inOurWords(err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return jose.KeySet{}, inOurWords(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return jose.KeySet{}, fmt.Errorf("the answer's status is %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeys+1))
	if err != nil {
		return jose.KeySet{}, inOurWords(err)
	}
	if len(text) > maxKeys {
		return jose.KeySet{}, fmt.Errorf("the key set is too large: more than %d bytes", maxKeys)
	}
	return jose.ParseKeySet(text)
}

// inOurWords keeps what went wrong, leaves out what net/http repeats of the URL, and
// makes printable and short what it quotes of the answer.
func inOurWords(err error) error {
	var wrapped *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", fetchTimeout)
	case errors.As(err, &wrapped):
		err = wrapped.Err
	}
	if text := serverurl.Printable(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
