package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// timeout bounds one exchange.
const timeout = 30 * time.Second

// operator asks, as the product's client does, as one workload for ID tokens.
func (o options) operator(client int) (exchange, error) {
	workload, err := operator.New(operator.Config{
		Base: o.url, StateDir: o.folder(client), TicketFile: o.ticketFile, Timeout: timeout,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		issued, err := workload.Fetch(ctx, token.Request{Audience: o.audience})
		return issued.ID(), err
	}, nil
}

// grant is how all OAuth clients begin (RFC 6749 §4.4, RFC 8707).
func (o options) grant() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
}

// assertion asks as an OAuth client with a key (RFC 7523) for a signed token.
func (o options) assertion(int) (exchange, error) {
	content, err := os.ReadFile(o.keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", o.keyFile)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	client := newHTTPClient()
	return func(ctx context.Context) (string, error) {
		now := time.Now()
		claims, err := jwt.NewBuilder().Issuer(o.clientID).Subject(o.clientID).Audience([]string{o.audience}).
			IssuedAt(now).Expiration(now.Add(time.Minute)).JwtID(rand.Text()).Build()
		if err != nil {
			return "", err
		}
		signed, err := jwt.Sign(claims, jwt.WithKey(jwa.ES256, key))
		if err != nil {
			return "", err
		}
		form := o.grant()
		form.Set("resource", "urn:ledger")
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", string(signed))
		issued, err := o.post(ctx, client, form, "")
		if err == nil && strings.Count(issued, ".") != 2 {
			err = errors.New("the access token is no JWT")
		}
		return issued, err
	}, nil
}

// secret asks as an OAuth client with a secret for an opaque token.
func (o options) secret(int) (exchange, error) {
	content, err := os.ReadFile(o.secretFile)
	if err != nil {
		return nil, err
	}
	client := newHTTPClient()
	return func(ctx context.Context) (string, error) {
		return o.post(ctx, client, o.grant(), strings.TrimSpace(string(content)))
	}, nil
}

// post sends a token request and returns the access token.
func (o options) post(ctx context.Context, client *http.Client, form url.Values, secret string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		request.SetBasicAuth(o.clientID, secret)
	}
	body, err := send(client, request)
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", errors.New("the answer has no access token")
	}
	return answer.AccessToken, nil
}

// get fetches a URL.
func (o options) get(int) (exchange, error) {
	client := newHTTPClient()
	return func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, nil)
		if err != nil {
			return "", err
		}
		_, err = send(client, request)
		return "", err
	}, nil
}

// newHTTPClient is a client with a connection of its own.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{}, Timeout: timeout}
}

func send(client *http.Client, request *http.Request) ([]byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", request.URL, response.Status, body)
	}
	return body, err
}
