package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a connection, or a program that makes one, may take.
const patience = 5 * time.Second

// flooder makes connections, several at once.
type flooder struct {
	addresses, programs []string
	say                 string
	answer, touch       bool
	keep, workers       int
	times               int

	tries atomic.Int64
	over  atomic.Bool

	mu     sync.Mutex
	kept   []net.Conn // the oldest first
	result result
}

// result is what became of the tries.
type result struct {
	Tries   int     `json:"tries"`
	Made    int     `json:"made"`
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"`
	First   string  `json:"first"` // what failed first
}

// flood goes on until SIGTERM. It says when it has begun.
func (f *flooder) flood() result {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	start := time.Now()
	var workers sync.WaitGroup
	for n := range f.workers {
		workers.Go(func() {
			for i := 0; !f.over.Load() && (f.times == 0 || i < f.times); i++ {
				f.count(f.try(n))
			}
		})
	}
	fmt.Println("flooding")
	<-stop
	f.over.Store(true)
	f.result.Seconds = time.Since(start).Seconds()
	workers.Wait()
	f.result.Tries = f.result.Made + f.result.Failed
	return f.result
}

func (f *flooder) count(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.result.Made++
		return
	}
	f.result.Failed++
	if f.result.First == "" {
		f.result.First = err.Error()
	}
}

// try makes one connection, or has the worker's program make it.
func (f *flooder) try(worker int) error {
	n := int(f.tries.Add(1))
	if len(f.programs) == 0 {
		return f.connect(n)
	}
	program := f.programs[worker%len(f.programs)]
	if f.touch {
		now := time.Now()
		if err := os.Chtimes(program, now, now); err != nil {
			return err
		}
	}
	cmd := exec.Command(program, "-once", "-dial", f.addresses[n%len(f.addresses)], "-say", f.say, fmt.Sprintf("-answer=%t", f.answer))
	return cmd.Run()
}

// connect makes the n-th connection and says on it what there is to say.
func (f *flooder) connect(n int) error {
	conn, err := net.DialTimeout("tcp", f.addresses[n%len(f.addresses)], patience)
	if err != nil {
		return err
	}
	if err := f.converse(conn); err != nil {
		_ = conn.Close()
		return err
	}
	if f.keep > 0 {
		conn = f.exchange(conn)
	}
	if conn == nil {
		return nil
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // so that no port is used up
	return conn.Close()
}

func (f *flooder) converse(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if f.say != "" {
		if _, err := conn.Write([]byte(f.say)); err != nil {
			return err
		}
	}
	if !f.answer {
		return nil
	}
	_, err := conn.Read(make([]byte, 4096))
	return err
}

// exchange keeps a connection and returns the oldest where there are too many.
func (f *flooder) exchange(conn net.Conn) (oldest net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = append(f.kept, conn)
	if len(f.kept) <= f.keep {
		return nil
	}
	oldest, f.kept = f.kept[0], f.kept[1:]
	return oldest
}
