package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/test/lab"
)

// broken is a listener that fails when it is told to.
type broken struct {
	net.Listener
	fail chan error
}

func (b *broken) Accept() (net.Conn, error) { return nil, <-b.fail }

func (b *broken) Close() error {
	select {
	case b.fail <- net.ErrClosed:
	default:
	}
	return nil
}

func (b *broken) Addr() net.Addr { return &net.UnixAddr{Name: "broken"} }

// TestAnOptionalListenerComesAndGoes: it cannot be had at first, comes, fails, and
// comes again. Each change is told once.
func TestAnOptionalListenerComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lab.Output
		listening := make(chan *broken, 1)
		var taken atomic.Bool
		o := &optional{
			kind: "metrics", address: "here", gate: admission.NewGate(4), health: newHealth(),
			log: slog.New(slog.NewTextHandler(&log, nil)), stop: make(chan struct{}),
			listen: func(context.Context) (net.Listener, error) {
				if taken.Load() {
					return nil, errors.New("address already in use")
				}
				l := &broken{fail: make(chan error, 1)}
				listening <- l
				return l, nil
			},
			serve: func(net.Listener) *http.Server { return &http.Server{ReadHeaderTimeout: time.Second} },
		}
		o.health.ok(partAgent)
		want := func(when string, up bool, says string, lines int) {
			t.Helper()
			synctest.Wait()
			status, text := o.health.report()
			if o.state().Up != up || status != http.StatusOK || !strings.Contains(text, says) {
				t.Errorf("%s: up %v, %d %q", when, o.state().Up, status, text)
			}
			if told := strings.Count(log.String(), "\n"); told != lines {
				t.Errorf("%s: %d lines, want %d:\n%s", when, told, lines, log.String())
			}
		}
		taken.Store(true)
		o.open(t.Context())
		done := make(chan struct{})
		go func() { o.run(t.Context()); close(done) }()
		time.Sleep(10 * retryPause)
		want("taken", false, "degraded: metrics here: address already in use", 1)
		taken.Store(false)
		time.Sleep(retryPause)
		want("free", true, "ok", 2)
		(<-listening).fail <- errors.New("it broke")
		want("broken", false, "it broke", 3)
		time.Sleep(retryPause)
		want("again", true, "ok", 4)
		if err := o.shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// TestAListenerIsLostUnnoticed: nothing fails, but nobody can come any more. It is told
// within a look, and listened again.
func TestAListenerIsLostUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lab.Output
		var removed atomic.Bool
		var listened atomic.Int32
		o := &optional{
			kind: "local_socket", address: "here", gate: admission.NewGate(4), health: newHealth(),
			log: slog.New(slog.NewTextHandler(&log, nil)), stop: make(chan struct{}),
			listen: func(context.Context) (net.Listener, error) {
				listened.Add(1)
				return &broken{fail: make(chan error, 1)}, nil
			},
			serve: func(net.Listener) *http.Server { return &http.Server{ReadHeaderTimeout: time.Second} },
			look: func(net.Listener) error {
				if removed.Swap(false) {
					return errors.New("it was removed")
				}
				return nil
			},
		}
		o.health.ok(partAgent)
		o.open(t.Context())
		done := make(chan struct{})
		go func() { o.run(t.Context()); close(done) }()
		want := func(after time.Duration, up bool, says string, listens int32) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if _, text := o.health.report(); o.state().Up != up || !strings.Contains(text, says) || listened.Load() != listens {
				t.Errorf("up %v, listened %d times, %q; want %v, %d, %q\n%s", o.state().Up, listened.Load(), text, up, listens, says, log.String())
			}
		}
		want(10*lookPause, true, "ok", 1)
		removed.Store(true)
		want(lookPause, false, "degraded: local_socket here: it was removed", 1)
		want(retryPause, true, "ok", 2)
		if err := o.shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
		if told := strings.Count(log.String(), "\n"); told != 2 || !strings.Contains(log.String(), "listening again") {
			t.Errorf("told %d times:\n%s", told, log.String())
		}
	})
}

// TestAListenerThatIsShutDownIsNotLost: shutdown removes the socket, and calls under way
// are not cut off for that.
func TestAListenerThatIsShutDownIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &optional{stopping: true, look: func(net.Listener) error { return errors.New("it was removed") }}
		l := &broken{fail: make(chan error, 1)}
		ended := make(chan error, 1)
		go func() { ended <- o.attend(l, &http.Server{ReadHeaderTimeout: time.Second}) }()
		time.Sleep(3 * lookPause)
		l.fail <- http.ErrServerClosed
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("ended by %v", err)
		}
	})
}

// pair is a listener with another beside it.
type pair struct {
	*broken
	other *broken
}

func (p *pair) beside() []net.Listener { return []net.Listener{p.other} }

// TestOneOfSeveralListenersFails: whichever of them it is, that is told, all of them
// end, and all are opened again.
func TestOneOfSeveralListenersFails(t *testing.T) {
	for _, which := range []string{"the first", "the other"} {
		t.Run(which, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lab.Output
				opened := make(chan *pair, 2)
				o := &optional{
					kind: "local_api", address: "here", gate: admission.NewGate(4), health: newHealth(),
					log: slog.New(slog.NewTextHandler(&log, nil)), stop: make(chan struct{}),
					listen: func(context.Context) (net.Listener, error) {
						p := &pair{&broken{fail: make(chan error, 1)}, &broken{fail: make(chan error, 1)}}
						opened <- p
						return p, nil
					},
					serve: func(net.Listener) *http.Server { return &http.Server{ReadHeaderTimeout: time.Second} },
				}
				o.open(t.Context())
				done := make(chan struct{})
				go func() { o.run(t.Context()); close(done) }()
				synctest.Wait()
				failing := <-opened
				if which == "the first" {
					failing.fail <- errors.New("it broke")
				} else {
					failing.other.fail <- errors.New("it broke")
				}
				synctest.Wait()
				if o.state().Up || !strings.Contains(log.String(), "it broke") {
					t.Errorf("up %v, and the log says %q", o.state().Up, log.String())
				}
				time.Sleep(retryPause)
				synctest.Wait()
				if !o.state().Up || len(opened) != 1 {
					t.Errorf("up %v, opened again %d times", o.state().Up, len(opened))
				}
				if err := o.shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				<-done
			})
		})
	}
}

// TestTheSocketIsLookedAt: the agent's own socket is one that can be lost, and can be
// had again with its folder.
func TestTheSocketIsLookedAt(t *testing.T) {
	a := &Agent{health: newHealth(), log: slog.New(slog.DiscardHandler)}
	path := filepath.Join(t.TempDir(), "lanyard", "agent.sock")
	o := a.localSocketListener(http.NotFoundHandler(), path)
	for range 2 {
		l, err := o.listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := o.look(l); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		if err := o.look(l); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("removed: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if l, err := o.listen(t.Context()); err == nil || l != nil || !strings.Contains(err.Error(), "run chmod go-w "+filepath.Dir(path)) {
		t.Errorf("in everybody's folder: %v, %v", l, err)
	}
}

// TestAMissingListenerDoesNotDelayTheEnd.
func TestAMissingListenerDoesNotDelayTheEnd(t *testing.T) {
	o := &optional{
		gate: admission.NewGate(4), health: newHealth(), log: slog.New(slog.DiscardHandler), stop: make(chan struct{}),
		listen: func(context.Context) (net.Listener, error) { return nil, errors.New("taken") },
	}
	o.open(t.Context())
	done := make(chan struct{})
	go func() { o.run(t.Context()); close(done) }()
	start := time.Now()
	if err := o.shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-done
	if took := time.Since(start); took > retryPause/2 {
		t.Errorf("took %v", took)
	}
}

// TestDamagedKeyFile: the agent starts, says what is wrong, and has the key as soon as
// the file is mended.
func TestDamagedKeyFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "local-api-key")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log lab.Output
	h := newHealth()
	k := newAPIKey(&Settings{StateDir: dir}, h, slog.New(slog.NewTextHandler(&log, nil)))
	k.try()
	if _, err := k.get(); err == nil {
		t.Error("a key that others can read is used")
	}
	if _, text := h.report(); !strings.Contains(text, "degraded: local_api_key: ") || !strings.Contains(text, file) {
		t.Errorf("health says %q", text)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if !k.try() {
		t.Fatal("not mended")
	}
	k.keep(t.Context()) // there is nothing to wait for
	key, err := k.get()
	_, text := h.report()
	if err != nil || !key.Matches("hunter2") || strings.Contains(text, partAPIKey) {
		t.Errorf("mended: %v, health says %q", err, text)
	}
	if told := strings.Count(log.String(), "\n"); told != 2 || strings.Count(log.String(), "are answered again") != 1 || strings.Contains(log.String()+fmt.Sprintf("%+v", k), "hunter2") {
		t.Errorf("told %d times:\n%s", told, log.String())
	}
}

// A folder that stays one nobody can write is told of once.
func TestMissingKeyIsToldOnce(t *testing.T) {
	var log lab.Output
	k := newAPIKey(&Settings{StateDir: "/sys"}, newHealth(), slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		if k.try() {
			t.Fatal("a key was made in /sys")
		}
	}
	if told := strings.Count(log.String(), "\n"); told != 1 {
		t.Errorf("told %d times:\n%s", told, log.String())
	}
}
