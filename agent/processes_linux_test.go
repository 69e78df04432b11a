package agent

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// cgroupOf attributes every flow to a process in its cgroup.
type cgroupOf struct{}

func (cgroupOf) Attribute(_ context.Context, f workload.Flow) (*workload.Process, error) {
	return &workload.Process{Image: f.Image, CgroupID: f.CgroupID, Cgroup: "/a"}, nil
}
func (cgroupOf) Current(workload.Image) bool { return true }

func noCgroup(uint64) (string, error) { return "", errors.New("no such cgroup") }

// nobody attributes nothing.
type nobody struct{ cgroupOf }

func (nobody) Attribute(context.Context, workload.Flow) (*workload.Process, error) {
	return nil, errors.New("it has exited")
}

// What the kernel saw of a process outlasts it.
func TestFactsOfAProcessThatCannotBeAttributed(t *testing.T) {
	flow := workload.Flow{Image: workload.Image{PID: 7}, UID: 990, GID: 991, CgroupID: 42}
	p := &processes{attributor: nobody{}, cgroupPath: func(id uint64) (string, error) {
		if id != 42 {
			return noCgroup(id)
		}
		return "/system.slice/billing.service", nil
	}}
	facts, err := p.Attribute(t.Context(), flow)
	want := workload.Process{Image: flow.Image, UID: 990, GID: 991, CgroupID: 42, Cgroup: "/system.slice/billing.service", SystemdUnit: "billing.service"}
	if err == nil || !reflect.DeepEqual(*facts, want) {
		t.Errorf("%+v and %v, want %+v and an error", facts, err, want)
	}
	flow.CgroupID = 43
	if facts, _ := p.Attribute(t.Context(), flow); facts.Cgroup != "" || facts.UID != 990 {
		t.Errorf("%+v", facts)
	}
}

// A user who makes cgroup after cgroup causes one line, not one for each.
func TestUntaughtCgroupsFillNoLog(t *testing.T) {
	var out strings.Builder
	p := &processes{
		attributor: cgroupOf{}, log: slog.New(slog.NewTextHandler(&out, nil)), budget: logbudget.New(logbudget.Config{}),
		learn: func(uint64, string) error { return errors.New("the map is full") }, learnt: map[uint64]struct{}{},
	}
	for uid := uint32(1000); uid < 1002; uid++ {
		for id := range uint64(100) {
			if _, err := p.Attribute(t.Context(), workload.Flow{UID: uid, CgroupID: uint64(uid)*1000 + id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines about two users, want 2", n)
	}
}

// What the kernel was told of a cgroup it may have forgotten since.
func TestCgroupsAreToldAgain(t *testing.T) {
	p := &processes{learnt: map[uint64]struct{}{}}
	start := time.Unix(1_000_000, 0)
	for _, test := range []struct {
		after  time.Duration
		cgroup uint64
		told   bool
	}{
		{0, 1, true}, {0, 1, false}, {time.Second, 2, true}, {tellAgain - 1, 1, false},
		{tellAgain, 1, true}, {tellAgain, 2, true}, {tellAgain + 1, 1, false},
	} {
		if told := p.unlearnt(test.cgroup, start.Add(test.after)); told != test.told {
			t.Errorf("cgroup %d is told after %v: %v, want %v", test.cgroup, test.after, told, test.told)
		}
	}
}
