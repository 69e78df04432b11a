package httpserve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestRequestsSurviveTheStop: what is under way when Serve is told to end finishes,
// and what would not is told to.
func TestRequestsSurviveTheStop(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, told := make(chan struct{}), make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-told
		welcome(w, r)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, listener, Config{
			Handler: http.HandlerFunc(handler), OnStop: func() { close(told) }, Log: slog.New(slog.DiscardHandler),
		})
	}()
	answered := make(chan error, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitLimit}
		response, err := client.Get("http://" + listener.Addr().String())
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	<-entered
	stop()
	if err := <-answered; err != nil {
		t.Errorf("the request: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

// TestListenerThatFails ends Serve, and whatever Serve has started.
func TestListenerThatFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = Serve(t.Context(), listener, Config{
		Handler: http.NotFoundHandler(), Certificate: load(t, newPair(t, thisYear)), Log: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// TestEveryRequestIsTheHandlers: net/http answers OPTIONS * with 200 by itself, past a
// handler that wants a token.
func TestEveryRequestIsTheHandlers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	go func() {
		ended <- Serve(ctx, listener, Config{Handler: http.HandlerFunc(refuse), Log: slog.New(slog.DiscardHandler)})
	}()
	if status := statusOf(t, listener.Addr().String(), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"); status != http.StatusUnauthorized {
		t.Errorf("OPTIONS * is answered %d", status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// statusOf sends a request as it stands there, and returns the answer's status.
func statusOf(t *testing.T, address, request string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
