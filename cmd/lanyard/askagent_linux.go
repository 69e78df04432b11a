package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/why"
)

const (
	whyTimeout   = 20 * time.Second
	maxWhyAnswer = 1 << 20
)

// errRefused says that the agent answers somebody else only.
var errRefused = errors.New("it answers root alone")

// cannotAsk reports whether the agent is not there, or does not answer us.
func cannotAsk(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errRefused)
}

// askAgent asks the running agent.
func askAgent(ctx context.Context, socket string, q agent.WhyQuestion) (why.Report, error) {
	if socket == "off" {
		return why.Report{}, fmt.Errorf("it has no Unix socket (LANYARD_LOCAL_SOCKET is off): %w", fs.ErrNotExist)
	}
	answer, status, err := post(ctx, socket, agent.WhyPath, q)
	if err != nil {
		return why.Report{}, fmt.Errorf("ask the agent at %s: %w", socket, err)
	}
	switch status {
	case http.StatusOK:
	case http.StatusForbidden:
		return why.Report{}, fmt.Errorf("ask the agent at %s: %w", socket, errRefused)
	case http.StatusNotFound:
		return why.Report{}, fmt.Errorf("ask the agent at %s: its version does not know the question: %w", socket, fs.ErrNotExist)
	default:
		return why.Report{}, errors.New(strings.TrimSpace(string(answer)))
	}
	var report why.Report
	if err := json.Unmarshal(answer, &report); err != nil {
		return why.Report{}, fmt.Errorf("read the agent's answer: %w", err)
	}
	return report, nil
}

// post sends a question as JSON to a Unix socket.
func post(ctx context.Context, socket, path string, question any) (answer []byte, status int, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set(localapi.AdminHeader, "1")
	transport := serverurl.WithoutUpgrade(&http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}})
	response, err := (&http.Client{Timeout: whyTimeout, Transport: transport}).Do(request)
	if err != nil {
		return nil, 0, errors.Unwrap(err) // without the URL, which is made up
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxWhyAnswer))
	return answer, response.StatusCode, err
}
