package attribution

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestGoneImageIsNotAttributed(t *testing.T) {
	r := newRecord()
	a := attributor(t, r)
	_, err := a.Attribute(t.Context(), workload.Flow{Image: workload.Image{PID: uint32(os.Getpid())}})
	if !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

// TestExecWhileReading has the process execute another program after the first
// look at the record and before the second.
func TestExecWhileReading(t *testing.T) {
	dir := folder(t)
	next := program(t, filepath.Join(dir, "next"))
	c := start(t, helper(t, "exec", next))
	c.line(t)
	i := c.image(1)
	r := newRecord(i)
	a := attributor(t, r)
	r.before = func(n int) {
		if n != 2 {
			return
		}
		if _, err := io.WriteString(c.stdin, "\n"); err != nil {
			t.Error(err)
		}
		c.running(t, "next")
		r.end(i)
	}
	if p, err := a.Attribute(t.Context(), workload.Flow{Image: i}); !errors.Is(err, ErrGone) {
		t.Fatalf("got %+v, %v", p, err)
	}
	// Nothing of it stays: asked again, it is still gone.
	if p, err := a.Attribute(t.Context(), workload.Flow{Image: i}); !errors.Is(err, ErrGone) {
		t.Errorf("got %+v, %v", p, err)
	}
	if a.Current(i) {
		t.Error("current")
	}
}

// TestExecAfterConnect follows one process id through two programs. It is also
// what a process id that was reused looks like, but for the start time.
func TestExecAfterConnect(t *testing.T) {
	for name, second := range map[string]func(*child) workload.Image{
		"exec":     func(c *child) workload.Image { return c.image(2) },
		"id reuse": func(c *child) workload.Image { return workload.Image{PID: c.pid(), StartTime: 2000, ExecID: 1} },
	} {
		t.Run(name, func(t *testing.T) {
			next := program(t, filepath.Join(folder(t), "next"))
			c := start(t, helper(t, "exec", next))
			c.line(t)
			before, after := c.image(1), second(c)
			r := newRecord(before)
			a := attributor(t, r)
			first := mustAttribute(t, a, workload.Flow{Image: before})
			if first.Executable == next || !a.Current(before) || a.Current(after) {
				t.Fatalf("before: %+v", first)
			}
			if _, err := io.WriteString(c.stdin, "\n"); err != nil {
				t.Fatal(err)
			}
			c.running(t, "next")
			r.end(before)
			r.begin(after)
			if a.Current(before) {
				t.Error("the image that is gone is current")
			}
			if p, err := a.Attribute(t.Context(), workload.Flow{Image: before}); !errors.Is(err, ErrGone) {
				t.Errorf("the image that is gone: %+v, %v", p, err)
			}
			if p := mustAttribute(t, a, workload.Flow{Image: after}); p.Executable != next || p.Image != after {
				t.Errorf("the new image: %+v", p)
			}
		})
	}
}

func TestForkStartsUnknown(t *testing.T) {
	path := program(t, filepath.Join(folder(t), "worker"))
	c := start(t, helper(t, "fork", path))
	pid, err := strconv.Atoi(c.line(t))
	if err != nil {
		t.Fatal(err)
	}
	parent := c.image(1)
	forked := workload.Image{PID: uint32(pid), StartTime: 1000, ExecID: 1}
	r := newRecord(parent)
	a := attributor(t, r)
	mustAttribute(t, a, workload.Flow{Image: parent})
	if a.Current(forked) {
		t.Error("a fork is current before the kernel says so")
	}
	r.begin(forked)
	if p := mustAttribute(t, a, workload.Flow{Image: forked}); p.Executable != path {
		t.Errorf("got %+v", p)
	}
}

func TestWhatIsRememberedOfAnEndedImageIsNotServed(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	mustAttribute(t, a, workload.Flow{Image: i})
	r.end(i)
	if p, err := a.Attribute(t.Context(), workload.Flow{Image: i}); !errors.Is(err, ErrGone) {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestKilledProcessIsGone(t *testing.T) {
	c := start(t, exec.Command(program(t, filepath.Join(folder(t), "victim"))))
	c.running(t, "victim")
	i := c.image(1)
	r := newRecord(i)
	a := attributor(t, r)
	mustAttribute(t, a, workload.Flow{Image: i})
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	r.end(i)
	if a.Current(i) {
		t.Error("current")
	}
	// A record that is late does not make facts up either.
	late := c.image(2)
	r.begin(late)
	if p, err := a.Attribute(t.Context(), workload.Flow{Image: late}); err == nil {
		t.Errorf("got %+v", p)
	}
}

func self() workload.Image { return workload.Image{PID: uint32(os.Getpid()), StartTime: 1, ExecID: 1} }

func TestCurrentAsksOnlyWhenTheEpochMoved(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	mustAttribute(t, a, workload.Flow{Image: i})
	asked := r.questions()
	for range 10 {
		if !a.Current(i) {
			t.Fatal("not current")
		}
	}
	if n := r.questions(); n != asked {
		t.Errorf("asked %d times more", n-asked)
	}
	if n := testing.AllocsPerRun(100, func() { a.Current(i) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Another process id that shares the slot moves it: one question, remembered.
	r.end(workload.Image{PID: i.PID, StartTime: 99})
	for range 10 {
		if !a.Current(i) {
			t.Fatal("not current")
		}
	}
	if n := r.questions(); n != asked+1 {
		t.Errorf("asked %d times more", n-asked)
	}
}

func TestCurrentOfAnUnknownImageAsksAndRemembers(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	for range 2 {
		if !a.Current(i) || r.questions() != 1 {
			t.Errorf("asked %d times", r.questions())
		}
	}
	a.Forget(i)
	if !a.Current(i) || r.questions() != 2 {
		t.Errorf("asked %d times", r.questions())
	}
}

func TestImageThatCannotBeAskedAboutIsNotCurrent(t *testing.T) {
	i := self()
	r := newRecord(i)
	r.err = errors.New("map is gone")
	a := attributor(t, r)
	if a.Current(i) {
		t.Error("current")
	}
	if _, err := a.Attribute(t.Context(), workload.Flow{Image: i}); !errors.Is(err, r.err) {
		t.Errorf("got %v", err)
	}
}

func TestEachCombinationOfIDsIsReadAnew(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	p := mustAttribute(t, a, workload.Flow{Image: i, UID: 0})
	if again := mustAttribute(t, a, workload.Flow{Image: i, UID: 0}); again != p {
		t.Error("read twice")
	}
	for _, f := range []workload.Flow{{Image: i, UID: 1, PlaceID: 1}, {Image: i, GID: 1}, {Image: i, CgroupID: 1}} {
		got := mustAttribute(t, a, f)
		if got == p || got.UID != f.UID || got.GID != f.GID || got.CgroupID != f.CgroupID {
			t.Errorf("%+v: got %+v", f, got)
		}
	}
	a.SetInterest(Always(Facts{}))
	if again := mustAttribute(t, a, workload.Flow{Image: i, UID: 0}); again != p {
		t.Error("read again where nothing is missing")
	}
}

func TestOneReadsForAll(t *testing.T) {
	i := self()
	r := newRecord(i)
	a := attributor(t, r)
	const callers = 8
	var started, done sync.WaitGroup
	release := make(chan struct{})
	started.Add(1)
	r.before = func(n int) {
		if n == 1 {
			started.Done()
			<-release
		}
	}
	var got [callers]*workload.Process
	for n := range callers {
		done.Go(func() {
			p, err := a.Attribute(context.Background(), workload.Flow{Image: i})
			if err != nil {
				t.Error(err)
			}
			got[n] = p
		})
	}
	started.Wait()
	// One that does not wait long enough gives up alone.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Attribute(ctx, workload.Flow{Image: i}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	done.Wait()
	if n := r.questions(); n != 2 {
		t.Errorf("asked %d times, so read more than once", n)
	}
	for _, p := range got {
		if p != got[0] {
			t.Error("read more than once")
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for n := range 3 * shardCount * maxImages {
		m.remember(workload.Image{PID: uint32(n)}, 1, workload.Party{})
	}
	interest := Always(Facts{})
	for n := range 3 * maxProcesses {
		k := key{image: workload.Image{PID: 7}, uid: uint32(n)}
		m.remember(k.image, 1, workload.Party{})
		f, _ := m.join(k, &interest, time.Now())
		f.reading = &reading{process: &workload.Process{}}
		m.land(f)
	}
	for i := range m.shards {
		if n := len(m.shards[i].images.entries); n > maxImages {
			t.Fatalf("%d images in a shard", n)
		}
		if n := len(m.shards[i].flights); n != 0 {
			t.Fatalf("%d flights left", n)
		}
		for _, e := range m.shards[i].images.entries {
			if n := len(e.value.readings); n > maxProcesses {
				t.Fatalf("%d readings of an image", n)
			}
		}
	}
}

func TestErrorsNameTheImage(t *testing.T) {
	a := attributor(t, newRecord())
	_, err := a.Attribute(t.Context(), workload.Flow{Image: workload.Image{PID: 4242, StartTime: 5, ExecID: 6}})
	if err == nil || !strings.Contains(err.Error(), "pid 4242") {
		t.Errorf("got %v", err)
	}
}

// TestCloseWaitsForNoReadingThatHangs: it ends with what holds it.
func TestCloseWaitsForNoReadingThatHangs(t *testing.T) {
	r := newRecord(self())
	a, err := New(Config{ReaderConfig: ReaderConfig{Proc: "/proc", Root: "/", Names: names{}}, Liveness: r})
	if err != nil {
		t.Fatal(err)
	}
	hung, release := make(chan struct{}), make(chan struct{})
	r.before = func(n int) {
		if n == 1 {
			close(hung)
			<-release
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := a.Attribute(ctx, workload.Flow{Image: self()})
		done <- err
	}()
	<-hung
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	close(release)
	a.flights.Wait()
}

// TestRefusalIsNotRemembered: a process without a digest would pass for another.
func TestRefusalIsNotRemembered(t *testing.T) {
	i := self()
	a := attributor(t, newRecord(i))
	now := time.Now()
	h := a.reader.digests.hasher
	h.now = func() time.Time { return now }
	if err := h.charge(workload.ProcessParty(7, 7, 0), 2*maxExecutable); err != nil {
		t.Fatal(err)
	}
	h.leave(workload.ProcessParty(7, 7, 0))
	if p, err := a.Attribute(t.Context(), workload.Flow{Image: i, UID: 7, PlaceID: 7}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "MiB/s") {
		t.Errorf("got %+v, %v", p, err)
	}
	now = now.Add(time.Hour)
	if p := mustAttribute(t, a, workload.Flow{Image: i, UID: 7, PlaceID: 7}); p.SHA256 == "" {
		t.Errorf("got %+v", p)
	}
}

// TestWantOfDescriptorsIsNotRemembered: security.md 31. Whoever uses them up must
// not make a process of an identity one of nobody's.
func TestWantOfDescriptorsIsNotRemembered(t *testing.T) {
	i := self()
	a := attributor(t, newRecord(i))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for left := range uint64(3) {
		next, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(next)
		low := limit
		low.Cur = uint64(next) + left
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		p, err := a.Attribute(t.Context(), workload.Flow{Image: i, UID: 7, PlaceID: 7})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("with %d descriptors: %+v, %v", left, p, err)
		}
	}
	if p := mustAttribute(t, a, workload.Flow{Image: i, UID: 7, PlaceID: 7}); p.SHA256 == "" || p.CommandLine == nil {
		t.Errorf("got %+v", p)
	}
}
