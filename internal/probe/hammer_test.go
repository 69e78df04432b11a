//go:build linux

package probe

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// hammer connects again and again and counts how it went: by the first byte that
// the other side sends, or by the error.
type hammer struct {
	ended   atomic.Bool
	workers sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int
}

func startHammer(addr string, workers int) *hammer {
	h := &hammer{counts: map[string]int{}}
	for range workers {
		h.workers.Go(func() {
			for !h.ended.Load() {
				outcome := connectOnce(addr)
				h.mu.Lock()
				h.counts[outcome]++
				h.mu.Unlock()
			}
		})
	}
	return h
}

func (h *hammer) stop() map[string]int {
	h.ended.Store(true)
	h.workers.Wait()
	return h.counts
}

func connectOnce(addr string) string {
	conn, err := net.DialTimeout("tcp", addr, connectLimit)
	if err != nil {
		return nameOf(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0) // leaves no TIME_WAIT, of which there would be too many
	_ = conn.SetDeadline(time.Now().Add(connectLimit))
	greeting := make([]byte, 1)
	if _, err := conn.Read(greeting); err != nil {
		return nameOf(err)
	}
	return string(greeting)
}

func nameOf(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
