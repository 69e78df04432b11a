//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const host = "ledger.test:8080"

func (s *stranger) path(n int) string { return fmt.Sprintf("/attack/%s/%d", s.kind, n) }

func (s *stranger) request(n int) string {
	return "GET " + s.path(n) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
}

// localRequest asks the local API for the caller's own token.
func (s *stranger) localRequest() string {
	return "GET /peer/v1/id_token?audience=http://" + host + " HTTP/1.1\r\nHost: " + s.local[0].String() + "\r\nLanyard-Workload: 1\r\n\r\n"
}

// listen reads what comes within a time and looks whether it is another's.
func (s *stranger) listen(fd, n int, within time.Duration) {
	limit := unix.NsecToTimeval(int64(within))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	buffer := make([]byte, 8192)
	length, err := unix.Read(fd, buffer)
	if err != nil || length <= 0 {
		return
	}
	s.answers.Add(1)
	s.judge(string(buffer[:length]), n)
}

// judge looks whether an answer is to one's own request, and shows no token.
func (s *stranger) judge(answer string, n int) {
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	if _, rest, found := strings.Cut(body, `"jwt_id_token":"`); found {
		token, _, _ := strings.Cut(rest, `"`)
		s.present(token, n)
		s.read.Add(1)
		return
	}
	own := strings.HasPrefix(body, s.path(n)+" ") || strings.Contains(body, `"code"`) || strings.Contains(answer, " 401 ") ||
		strings.Contains(answer, "application/problem+json") // the agent's own refusal
	if !own || strings.Contains(body, "token=true") {
		s.read.Add(1)
	}
}

// present shows a token that came into the wrong hands to the server, which tells
// whose it is.
func (s *stranger) present(token string, n int) {
	fd, err := unix.Socket(s.targets[0].family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Connect(fd, s.targets[0].sockaddr()); err != nil {
		return
	}
	send(fd, "GET "+s.path(n)+" HTTP/1.1\r\nHost: "+host+"\r\nAuthorization: Bearer "+token+"\r\n\r\n")
	_, _ = unix.Read(fd, make([]byte, 4096))
}

func addressOf(a *unix.RawSockaddr) uintptr { return uintptr(unsafe.Pointer(a)) }
