package attribution

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func imageOf(pid uint32) workload.Image { return workload.Image{PID: pid, StartTime: 1, ExecID: 1} }

// TestHungFUSEIsNotAsked: security.md 2 and 31. The file system is known, and so
// why there is no digest, though nothing on it can be asked any more. Who asked
// could not even be killed.
func TestHungFUSEIsNotAsked(t *testing.T) {
	const forLong, never = 3600, 0
	for name, tc := range map[string]struct {
		known int
		see   func(fuseServer, *Attributor)
	}{
		"by its file":  {forLong, func(fuseServer, *Attributor) {}},
		"by its names": {never, func(s fuseServer, a *Attributor) { s.seeing(a) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := onFUSE(t, tc.known, 1)
			a := attributor(t, newRecord(imageOf(s.pids[0])))
			tc.see(s, a)
			s.tell(t, "hang")
			p, err := a.Attribute(t.Context(), workload.Flow{Image: imageOf(s.pids[0])})
			if err != nil {
				t.Fatal(err)
			}
			if p.Executable != "" || p.SHA256 != "" || !strings.Contains(p.ExecutableNote, "is on FUSE") {
				t.Errorf("executable %q, digest %q, note %q", p.Executable, p.SHA256, p.ExecutableNote)
			}
			if n := threadsIn(t, "fuse"); n != 0 {
				t.Errorf("%d threads wait for it", n)
			}
		})
	}
}

// TestPathThatLeadsToHungFUSE: the path of an executable is its user's word, who
// can have it lead anywhere on the host.
func TestPathThatLeadsToHungFUSE(t *testing.T) {
	s := onFUSE(t, 0, 0)
	if err := os.Mkdir(filepath.Join(s.dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command(program(t, filepath.Join(s.dir, "folder", "local"))))
	c.running(t, "local")
	a := s.seeing(attributor(t, newRecord(c.image(1))))
	trap := filepath.Join(s.dir, "root")
	at := filepath.Join(trap, s.dir)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := filepath.Rel(at, filepath.Join(s.dir, "mount", "folder"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(at, "folder")); err != nil {
		t.Fatal(err)
	}
	a.reader.root += trap
	s.tell(t, "hang")
	p := mustAttribute(t, a, workload.Flow{Image: c.image(1)})
	if p.SHA256 == "" { // it is in process 1's namespace, so that its path counts all the same
		t.Errorf("got %+v", p)
	}
	if n := threadsIn(t, "fuse"); n != 0 {
		t.Errorf("%d threads wait for it", n)
	}
}

// threadsIn counts our threads that wait in a function of the kernel whose name
// begins like this.
func threadsIn(t *testing.T, function string) (n int) {
	t.Helper()
	stacks, err := filepath.Glob("/proc/self/task/*/stack")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stacks {
		stack, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(stack), "] "+function) {
			n++
		}
	}
	return n
}

// TestHungFUSEHoldsAShareOfTheThreads: security.md 31. FUSE is taken for a file
// system that answers, so that every look-up of a path blocks for ever; who caused
// it uses up a share, is told so, and hinders nobody.
func TestHungFUSEHoldsAShareOfTheThreads(t *testing.T) {
	const programs = 40
	s := onFUSE(t, 0, programs)
	victim := start(t, exec.Command(program(t, filepath.Join(folder(t), "victim"))))
	victim.running(t, "victim")
	r := newRecord(victim.image(1))
	for _, pid := range s.pids {
		r.begin(imageOf(pid))
	}
	a := s.seeing(attributor(t, r))
	a.reader.silent = nil
	a.deadline, a.admission.patience = time.Second, 300*time.Millisecond
	attribute := func(ctx context.Context, pid uint32) error {
		_, err := a.Attribute(ctx, workload.Flow{Image: imageOf(pid), UID: 1, PlaceID: 1})
		return err
	}
	s.tell(t, "hang")

	// Whoever asks is answered by its own deadline, the first as well.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := attribute(ctx, s.pids[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if err := attribute(t.Context(), s.pids[0]); !errors.Is(err, ErrLate) {
		t.Fatalf("got %v", err)
	}
	before := time.Now()
	if err := attribute(t.Context(), s.pids[0]); !errors.Is(err, ErrLate) || time.Since(before) > a.deadline/2 {
		t.Fatalf("asked again: %v after %v", err, time.Since(before))
	}

	type answer struct {
		pid uint32
		err error
	}
	done := make(chan answer, programs)
	for _, pid := range s.pids {
		go func() { done <- answer{pid, attribute(t.Context(), pid)} }()
	}
	var hung, busy int
	var refused uint32
	for range programs {
		switch a := <-done; {
		case errors.Is(a.err, ErrLate):
			hung++
		case errors.Is(a.err, ErrBusy) && strings.Contains(a.err.Error(), "user 1"):
			busy++
			refused = a.pid
		default:
			t.Errorf("got %v", a.err)
		}
	}
	share := part(part(maxReadings, placePart), partyPart)
	if n := threadsIn(t, "fuse"); n == 0 || n > share {
		t.Errorf("%d threads wait for it, of a share of %d", n, share)
	}
	t.Logf("%d hung, %d refused, %d threads held", hung, busy, threadsIn(t, "fuse"))
	if hung == 0 || busy == 0 {
		t.Error("no limit was reached")
	}

	// By now it is known to be stuck: refused at once.
	before = time.Now()
	if err := attribute(t.Context(), refused); !errors.Is(err, ErrBusy) || time.Since(before) > a.admission.patience/2 {
		t.Errorf("%v after %v", err, time.Since(before))
	}

	var slowest time.Duration
	for n := range 200 {
		before := time.Now()
		if _, err := a.Attribute(t.Context(), workload.Flow{Image: victim.image(1), UID: 2, PlaceID: 2, GID: uint32(n)}); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(before))
	}
	t.Logf("the slowest of 200 attributions of another user: %v", slowest)
	if slowest > a.deadline {
		t.Error("too slow")
	}

	// When it answers again, so does attribution, by itself.
	s.tell(t, "answer")
	until(t, func() bool { return attribute(t.Context(), s.pids[0]) == nil })
	until(t, func() bool { return threadsIn(t, "fuse") == 0 && runtime.NumGoroutine() < programs })
}
