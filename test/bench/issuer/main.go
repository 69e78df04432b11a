// Command issuer is the arms I, J and V of the issuing benchmark: the authority as
// the product runs it, in a process that also makes raw pairs of ES256 operations
// on request, so that both are measured with the same runtime, memory and cores.
//
// It must not know what its requests are for, and is no way to run the product: it
// limits nobody.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/internal/authority"
)

func main() {
	data := flag.String("data", "", "data folder of the authority")
	listen := flag.String("listen", "", "address:port of the authority")
	pairs := flag.String("pairs", "", "address:port that answers when it has made some raw pairs")
	each := flag.Int("each", 100, "pairs for each request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *data, *listen, *pairs, *each); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// unlimited is more than any load here asks for.
const unlimited = 1 << 20

func run(ctx context.Context, data, listen, pairs string, each int) (err error) {
	debug.SetGCPercent(authority.GCPercent) // as lanyard authority does
	server, err := authority.New(authority.Config{
		DataDir: data, URL: "http://" + listen, RatePerSecond: unlimited, RateBurst: unlimited,
		WorkloadRatePerSecond: unlimited, WorkloadRateBurst: unlimited,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx, listener) })
	group.Go(func() error { return servePairs(ctx, pairs, each) })
	return group.Wait()
}

func servePairs(ctx context.Context, listen string, each int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: listen, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range each {
			if err := pair(key); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	})}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pair signs and verifies once: what no issuer that checks an assertion and signs
// a token can do without.
func pair(key *ecdsa.PrivateKey) error {
	var message [32]byte
	if _, err := rand.Read(message[:]); err != nil {
		return err
	}
	digest := sha256.Sum256(message[:])
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err == nil && !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
		err = errors.New("a signature does not verify")
	}
	return err
}
