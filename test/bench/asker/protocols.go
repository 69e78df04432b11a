package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
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
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

// timeout bounds one exchange.
const timeout = 30 * time.Second

// operator asks as one workload for ID tokens, over a connection that it keeps.
func (o options) operator(int) (exchange, error) {
	secret, err := os.ReadFile(o.ticketFile)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	client := newHTTPClient()
	id, err := o.enrol(client, strings.TrimSpace(string(secret)), key)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"audience": []string{o.audience}})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		assertion, err := sign(key, "", assertionClaims(id, o.url))
		if err != nil {
			return "", err
		}
		var answer struct {
			Token string `json:"jwt_id_token"`
		}
		if err := o.call(ctx, client, "/v1/id_token", assertion, body, &answer); err != nil {
			return "", err
		}
		issued, err := jwt.ParseInsecure([]byte(answer.Token))
		if err != nil {
			return "", err
		}
		return issued.JwtID(), nil
	}, nil
}

// enrol registers a workload for the key and returns its id.
func (o options) enrol(client *http.Client, secret string, key *ecdsa.PrivateKey) (string, error) {
	public, err := jwk.FromRaw(key.Public())
	if err != nil {
		return "", err
	}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(secret))
	proof, err := sign(key, "lanyard-registration+jwt", jwt.NewBuilder().Audience([]string{o.url}).IssuedAt(time.Now()).JwtID(rand.Text()).
		Claim("ticket_sha256", base64.RawURLEncoding.EncodeToString(digest[:])).
		Claim("jkt", base64.RawURLEncoding.EncodeToString(thumbprint)))
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{"ticket": secret, "jwk": public, "proof": proof})
	if err != nil {
		return "", err
	}
	var answer struct {
		ID string `json:"workload_id"`
	}
	err = o.call(context.Background(), client, "/v1/register", "", body, &answer)
	return answer.ID, err
}

// call posts JSON to the operator.
func (o options) call(ctx context.Context, client *http.Client, path, assertion string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if assertion != "" {
		request.Header.Set("Authorization", "Bearer "+assertion)
	}
	said, err := send(client, request)
	if err != nil {
		return err
	}
	return json.Unmarshal(said, answer)
}

// assertionClaims are those by which a client authenticates (RFC 7523 section 3).
func assertionClaims(client, audience string) *jwt.Builder {
	now := time.Now()
	return jwt.NewBuilder().Issuer(client).Subject(client).Audience([]string{audience}).
		IssuedAt(now).Expiration(now.Add(time.Minute)).JwtID(rand.Text())
}

// sign signs claims by ES256. An audience is written as a string, as both servers
// take it.
func sign(key any, typ string, claims *jwt.Builder) (string, error) {
	built, err := claims.Build()
	if err != nil {
		return "", err
	}
	built.Options().Enable(jwt.FlattenAudience)
	header := jws.NewHeaders()
	if typ != "" {
		if err := header.Set(jws.TypeKey, typ); err != nil {
			return "", err
		}
	}
	signed, err := jwt.Sign(built, jwt.WithKey(jwa.ES256, key, jws.WithProtectedHeaders(header)))
	return string(signed), err
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
		signed, err := sign(key, "", assertionClaims(o.clientID, o.audience))
		if err != nil {
			return "", err
		}
		form := o.grant()
		form.Set("resource", "urn:ledger")
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", signed)
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
