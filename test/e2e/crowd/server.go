package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// seen is what the server saw of a group of requests.
type seen struct {
	With    int `json:"with"`    // exactly one bearer token
	Without int `json:"without"` // none
	Odd     int `json:"odd"`     // any other Authorization
}

// server answers every request with its path and whether it carried a token, and
// /counts with what it has seen so far.
type server struct {
	mu     sync.Mutex
	counts map[string]*seen
}

func newServer() *server { return &server{counts: map[string]*seen{}} }

func (s *server) serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return (&http.Server{Handler: s, ReadHeaderTimeout: time.Minute}).Serve(listener)
}

func (s *server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/counts" {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.counts)
		return
	}
	token := s.count(q)
	if strings.HasSuffix(q.URL.Path, streamPath) {
		_, _ = io.WriteString(w, answer(q.URL.Path, token)+"\n")
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
		return
	}
	_, _ = io.WriteString(w, answer(q.URL.Path, token))
}

// answer is the body of the response to a request.
func answer(path string, token bool) string { return fmt.Sprintf("%s token=%t", path, token) }

// count notes a request and reports whether it carried a token.
func (s *server) count(q *http.Request) (token bool) {
	group, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	fields := q.Header.Values("Authorization")
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[group]
	if c == nil {
		c = &seen{}
		s.counts[group] = c
	}
	switch {
	case len(fields) == 0:
		c.Without++
	case len(fields) == 1 && strings.HasPrefix(fields[0], "Bearer "):
		c.With++
		return true
	default:
		c.Odd++
	}
	return false
}
