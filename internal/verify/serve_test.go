package verify

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestServeWarnsOfOtherMachines(t *testing.T) {
	for address, warns := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var log bytes.Buffer
		if err := Serve(ctx, listener, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "in the clear") != warns {
			t.Errorf("%s: the log says %q", address, &log)
		}
	}
}

// Who opens connections without end takes no more of us than so many.
func TestServeBoundsConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, http.NotFoundHandler(), slog.New(slog.DiscardHandler)) }()
	answered := func() error {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = conn.Close() }) // to the end it is held
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	for i := range maxConnections {
		if err := answered(); err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
	}
	var timeout net.Error
	if err := answered(); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("one more: %v, want it closed", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
