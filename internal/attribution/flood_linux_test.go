package attribution

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// samples are how many attributions are measured.
const samples = 6

// large runs a program whose file has this size, of which a part is allocated.
func large(t *testing.T, path string, size, allocated int64) *child {
	t.Helper()
	program(t, path)
	write := exec.Command("fallocate", "--keep-size", "--length", fmt.Sprint(allocated), path)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command(path))
	c.running(t, filepath.Base(path))
	return c
}

// TestFloodOfLargeExecutables: security.md 31. One user runs programs of 1 GiB, of
// which each is new whenever it is asked about; another's are hashed as before.
func TestFloodOfLargeExecutables(t *testing.T) {
	for name, allocated := range map[string]int64{"sparse": 1 << 20, "just not sparse": maxExecutable/sparsePart + 1<<20} {
		t.Run(name, func(t *testing.T) {
			const strangers, size = 20, 10 << 20
			dir := folder(t)
			r := newRecord()
			var flood []*child
			for n := range strangers {
				c := large(t, filepath.Join(dir, fmt.Sprintf("large%d", n)), maxExecutable, allocated)
				r.begin(c.image(1))
				flood = append(flood, c)
			}
			path := program(t, filepath.Join(dir, "victim"))
			appendRandom(t, path, size)
			victim := start(t, exec.Command(path))
			victim.running(t, "victim")
			r.begin(victim.image(1))
			a := attributor(t, r)

			before := measure(t, a, victim, path, 1000)
			ctx, stop := context.WithCancel(t.Context())
			var done sync.WaitGroup
			var asked, refused atomic.Int64
			for n, c := range flood {
				done.Go(func() {
					file := filepath.Join(dir, fmt.Sprintf("large%d", n))
					for gid := uint32(0); ctx.Err() == nil; gid++ {
						touch(t, file)
						_, err := a.Attribute(ctx, workload.Flow{Image: c.image(1), UID: 1000, PlaceID: 1000, GID: gid})
						asked.Add(1)
						switch {
						case errors.Is(err, ErrBusy):
							refused.Add(1)
						case err != nil && !errors.Is(err, ErrLate) && ctx.Err() == nil:
							t.Error(err)
						}
					}
				})
			}
			until(t, func() bool { return asked.Load() > 0 })
			during := measure(t, a, victim, path, 2000)
			stop()
			done.Wait()
			t.Logf("a new program of 10 MiB is attributed in %v (the slowest of %d), in the flood in %v; %d of its %d attributions were refused",
				before, samples, during, refused.Load(), asked.Load())
			if during > deadline/2 {
				t.Error("another user's flood delays it")
			}
		})
	}
}

func appendRandom(t *testing.T, path string, size int) {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path+".content", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	// By another process, see program.
	if out, err := exec.Command("sh", "-c", `cat "$1.content" >> "$1"`, "sh", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// touch gives a file another state, so that no digest of it is known.
func touch(t *testing.T, path string) {
	if err := os.Chtimes(path, past, past); err != nil {
		t.Error(err)
	}
}

// measure attributes a process whose executable was touched, samples times, and
// returns the longest that it took.
func measure(t *testing.T, a *Attributor, c *child, path string, gid uint32) time.Duration {
	t.Helper()
	var took []time.Duration
	for n := range uint32(samples) {
		touch(t, path)
		began := time.Now()
		p, err := a.Attribute(t.Context(), workload.Flow{Image: c.image(1), UID: 2000, PlaceID: 2000, GID: gid + n})
		if err != nil || p.SHA256 == "" {
			t.Fatalf("%+v, %v", p, err)
		}
		took = append(took, time.Since(began))
	}
	return slices.Max(took)
}

// TestFloodOfProcessesPushesNobodyOut: security.md 31. What is known of one user's
// processes and programs stays known, however many another starts.
func TestFloodOfProcessesPushesNobodyOut(t *testing.T) {
	c := start(t, exec.Command(program(t, filepath.Join(folder(t), "victim"))))
	c.running(t, "victim")
	victim := c.image(1)
	r := newRecord(victim)
	a := attributor(t, r)
	known := mustAttribute(t, a, workload.Flow{Image: victim, UID: 2000, PlaceID: 2000})
	// Images of one process share the shard.
	for n := range 3 * maxImages {
		i := workload.Image{PID: victim.PID, StartTime: uint64(5000 + n)}
		r.begin(i)
		mustAttribute(t, a, workload.Flow{Image: i, UID: 1000, PlaceID: 1000})
	}
	questions := r.questions()
	if again := mustAttribute(t, a, workload.Flow{Image: victim, UID: 2000, PlaceID: 2000}); again != known || r.questions() != questions {
		t.Error("its image was pushed out")
	}

	d := a.reader.digests
	f, err := os.Open(program(t, filepath.Join(folder(t), "changing")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range maxDigests + 100 {
		if err := unix.Futimes(int(f.Fd()), []unix.Timeval{{Sec: 1}, {Sec: 1}}); err != nil {
			t.Fatal(err)
		}
		v, err := versionOf(f)
		if err != nil {
			t.Fatal(err)
		}
		v.ctime.Nsec += int64(len(d.known.entries)) // more states than the clock has
		d.mu.Lock()
		d.known.put(v, "x", workload.UserParty(1000))
		d.mu.Unlock()
	}
	exe, err := os.Open(known.Executable)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	v, err := versionOf(exe)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.known.get(v); !ok {
		t.Error("its digest was pushed out")
	}
}

// TestNobodyIsHashedForNothing: security.md 31. A file is not read for a process
// that could not match whatever it holds.
func TestNobodyIsHashedForNothing(t *testing.T) {
	c := start(t, exec.Command(program(t, filepath.Join(folder(t), "stranger"))))
	c.running(t, "stranger")
	i := c.image(1)
	a := attributor(t, newRecord(i), func(c *Config) {
		c.Interest = func(p *workload.Process, read Facts) Facts {
			if p.UID != 2000 || p.Executable == "" {
				return Facts{}
			}
			return Facts{CommandLine: true, SHA256: read.CommandLine && len(p.CommandLine) == 1}
		}
	})
	if p := mustAttribute(t, a, workload.Flow{Image: i, UID: 1000, PlaceID: 1000}); p.SHA256 != "" || p.CommandLine != nil {
		t.Errorf("a stranger: %+v", p)
	}
	if n := len(a.reader.digests.known.entries); n != 0 {
		t.Errorf("%d files were hashed", n)
	}
	if p := mustAttribute(t, a, workload.Flow{Image: i, UID: 2000, PlaceID: 2000}); p.SHA256 == "" || len(p.CommandLine) != 1 {
		t.Errorf("got %+v", p)
	}
}
