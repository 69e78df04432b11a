//go:build linux

package probe

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// seen has a client connect, so that its image is known.
func (h *host) seen(t *testing.T, c *process) workload.Image {
	t.Helper()
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	image := h.claim(t, unix.AF_INET).Image
	h.requireRuns(t, c, image)
	return image
}

// requireEnded requires that an image is known to have ended now, and that this
// was told.
func (h *host) requireEnded(t *testing.T, image workload.Image, epoch uint64) {
	t.Helper()
	if alive, err := h.probe.Alive(image); alive || err != nil {
		t.Errorf("%v is said to run still (%v)", image, err)
	}
	if h.probe.Epoch(image.PID) == epoch {
		t.Errorf("the epoch of process %d is %d still", image.PID, epoch)
	}
	lab.Eventually(t, waitLimit, func() error { return h.hasEnded(image) })
}

func TestExecEndsTheImage(t *testing.T) {
	h := newHost(t)
	for _, how := range []string{"exec", "exec on first thread"} {
		t.Run(how, func(t *testing.T) {
			c := h.start(t, "billing")
			before := h.seen(t, c)
			epoch := h.probe.Epoch(before.PID)
			// The new image says hello first of all: by then it must be known.
			c.exec(t, how, executable(t, "other"))
			h.requireEnded(t, before, epoch)
			after := h.seen(t, c)
			if after.PID != before.PID || after.StartTime != before.StartTime || after.ExecID == before.ExecID {
				t.Errorf("after exec the image is %v, before it was %v", after, before)
			}
			if alive, err := h.probe.Alive(before); alive || err != nil {
				t.Errorf("%v is said to run again (%v)", before, err)
			}
		})
	}
}

func TestExitEndsTheImage(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	image := h.seen(t, c)
	epoch := h.probe.Epoch(image.PID)
	c.end(t)
	h.requireEnded(t, image, epoch)
}

// The first thread may end before the others; the image ends with the last.
func TestExitOfTheFirstThread(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	image := h.seen(t, c)
	epoch := h.probe.Epoch(image.PID)
	c.do(t, request{Do: "end first thread"})
	lab.Eventually(t, waitLimit, func() error {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", c.pid(), c.pid()))
		if err == nil && !isZombie(string(state)) {
			err = fmt.Errorf("the first thread is %s", state)
		}
		return err
	})
	if again := h.seen(t, c); again != image {
		t.Errorf("image is %v, before it was %v", again, image)
	}
	if h.probe.Epoch(image.PID) != epoch {
		t.Error("the image was taken for ended")
	}
	c.end(t)
	h.requireEnded(t, image, epoch)
}

func isZombie(stat string) bool {
	for i := len(stat) - 1; i >= 2; i-- {
		if stat[i-2:i] == ") " {
			return stat[i] == 'Z'
		}
	}
	return false
}

// An exit can be missed while no hook was attached. What stands under the id of a
// new process is not its own.
func TestForkForgetsTheIDsFormerOwner(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	pid := 0
	// Other processes of the machine take ids too: try until ours is among those
	// that were prepared.
	lab.Eventually(t, waitLimit, func() error {
		from := pid + 1
		if pid == 0 {
			from = int(c.pid())
		}
		for id := from; id < from+4096; id++ {
			former := bpf.ConnectKnownImage{Tgid: uint32(id), Image: bpf.ConnectImage{StartTime: 1, ExecId: 1}}
			if err := h.probe.connect.Images.Update(uint32(id), &former, 1); err != nil {
				continue // somebody's own
			}
		}
		var err error
		pid, err = strconv.Atoi(c.do(t, request{Do: "fork and sleep"}).Text)
		must(t, err)
		t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
		if pid < from || pid >= from+4096 {
			return fmt.Errorf("process %d is not among those from %d on", pid, from)
		}
		return nil
	})
	image := workload.Image{PID: uint32(pid), StartTime: 1, ExecID: 1}
	if alive, err := h.probe.Alive(image); alive || err != nil {
		t.Errorf("%v is said to run (%v)", image, err)
	}
	lab.Eventually(t, waitLimit, func() error { return h.hasEnded(image) })
}

// An image that nobody asks about costs no event.
func TestUnknownImagesEndSilently(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	epoch := h.probe.Epoch(c.pid())
	c.exec(t, "exec", executable(t, "other"))
	c.end(t)
	if h.probe.Epoch(c.pid()) != epoch {
		t.Error("the epoch of a process changed that never connected")
	}
}

func TestRunCanBeRepeated(t *testing.T) {
	h := newHost(t)
	for range 2 {
		h.cancel()
		must(t, <-h.ran)
		h.run()
		c := h.start(t, "billing")
		image := h.seen(t, c)
		epoch := h.probe.Epoch(image.PID)
		c.end(t)
		h.requireEnded(t, image, epoch)
	}
}
