//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/resolver"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/why"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// whyLimit bounds an answer: a process' executable may have to be digested.
const whyLimit = 15 * time.Second

// serveWhy answers questions of root's.
func (a *Agent) serveWhy(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), whyLimit)
	defer cancel()
	var q WhyQuestion
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&q)
	var report why.Report
	if err == nil {
		report, err = a.explain(ctx, q)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(report) // who asked may be gone
}

// withWhy serves questions of root's beside another handler, for the Unix socket.
func (a *Agent) withWhy(other http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+WhyPath, localapi.AdminOnly(http.HandlerFunc(a.serveWhy)))
	mux.Handle("/", other)
	return mux
}

// explain answers as this agent would decide now.
func (a *Agent) explain(ctx context.Context, q WhyQuestion) (why.Report, error) {
	policy := a.registry.Current()
	cgroup2, err := attribution.FindCgroup2("/proc")
	if err != nil {
		cgroup2 = "" // then no cgroup and no unit is known, here as elsewhere
	}
	return explain(ctx, q, cgroup2, why.World{
		Source: "as the running agent would take it now",
		Policy: policy, PathInRule: injector.PathInRule, Lookup: lookupHere, Verify: a.resolver.Verify,
		Reach: a.reaches(cgroup2), Token: a.tokenAnswer, Room: a.roomAnswer,
	})
}

// ExplainByConfig answers by a configuration alone, with the facts of this moment: what
// an agent with it would do.
func ExplainByConfig(ctx context.Context, policy *registry.Policy, source string, q WhyQuestion) (why.Report, error) {
	cgroup2, err := attribution.FindCgroup2("/proc")
	if err != nil {
		cgroup2 = ""
	}
	names := resolver.New(resolver.Config{})
	defer names.Close()
	return explain(ctx, q, cgroup2, why.World{
		Source: source, Policy: policy, PathInRule: injector.PathInRule, Lookup: lookupHere, Verify: names.Verify,
	})
}

func explain(ctx context.Context, q WhyQuestion, cgroup2 string, w why.World) (why.Report, error) {
	subject, err := subjectOf(ctx, q, cgroup2, w.Policy)
	if err != nil {
		return why.Report{}, err
	}
	return why.Explain(ctx, why.Question{URL: q.URL, Method: q.Method, Address: q.Address, Subject: subject}, w)
}

func lookupHere(ctx context.Context, host string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
}

// subjectOf finds out about the process that a question is about; the zero subject is
// anybody.
func subjectOf(ctx context.Context, q WhyQuestion, cgroup2 string, policy *registry.Policy) (why.Subject, error) {
	switch {
	case q.PID != 0:
		p, err := processNow(ctx, q.PID, cgroup2, policy)
		return why.Subject{Process: p}, err
	case q.Executable != "":
		return described(q)
	}
	return why.Subject{}, nil
}

func processNow(ctx context.Context, pid uint32, cgroup2 string, policy *registry.Policy) (_ *workload.Process, err error) {
	reader, err := attribution.NewReader(attribution.ReaderConfig{Proc: "/proc", Root: "/", Cgroup2: cgroup2, Names: attribution.NewHostNames()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	p := reader.Process(ctx, pid, attribution.Always(attribution.Facts{
		SHA256: policy.Needs(workload.KindSHA256), CommandLine: policy.Needs(workload.KindCommandLine),
	}))
	if p == nil {
		return nil, fmt.Errorf("look at process %d: there is no such process, it is a kernel thread, or only root may look at it", pid)
	}
	return p, nil
}

// described is a process that need not run, with what is not known of it.
func described(q WhyQuestion) (why.Subject, error) {
	p := &workload.Process{Executable: q.Executable, User: q.User}
	if number, err := strconv.ParseUint(q.User, 10, 32); err == nil {
		p.UID, p.User = uint32(number), attribution.NewHostNames().UserName(uint32(number))
	} else if p.UID, err = (attribution.HostAccounts{}).UserID(q.User); err != nil {
		return why.Subject{}, err
	}
	unknown := []workload.SelectorKind{workload.KindSHA256, workload.KindCommandLine, workload.KindGroup}
	if q.Unit != "" {
		p.Cgroup = filepath.Join("/system.slice", q.Unit)
		p.SystemdUnit = workload.SystemdUnit(p.Cgroup)
	} else {
		unknown = append(unknown, workload.KindCgroup, workload.KindSystemdUnit)
	}
	return why.Subject{Process: p, Unknown: unknown}, nil
}

// reaches says whether connects of a process come to this agent.
func (a *Agent) reaches(cgroup2 string) func(*workload.Process) why.Answer {
	return func(p *workload.Process) why.Answer {
		if err := a.probe.Hooks(); err != nil {
			return why.Answer{State: why.No, Unseen: true, Says: "the hooks do not see every connect: " + err.Error(), Do: "see /readyz"}
		}
		if p == nil || p.Image.PID == 0 {
			return why.Answer{State: why.OK, Says: "it runs, and its hooks are attached"}
		}
		if within, ok := strings.CutPrefix(filepath.Clean(a.settings.Cgroup), filepath.Clean(cgroup2)); a.settings.Cgroup != "" && ok && !isWithin(p.Cgroup, within) {
			return why.Answer{State: why.No, Unseen: true, Says: fmt.Sprintf("it watches the cgroup %s, and the process is in %s", within, p.Cgroup),
				Do: "start the process in that cgroup, or the agent with another --cgroup, or none"}
		}
		if own, err := os.Readlink("/proc/self/ns/net"); err == nil {
			if theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.Image.PID)); err == nil && own != theirs {
				return why.Answer{State: why.No, Says: "the process is in another network namespace than the agent, in which it has no listener: what the fail policy says is done",
					Do: "run the agent in that network namespace"}
			}
		}
		return why.Answer{State: why.OK, Says: "it runs, its hooks are attached, and the process is where it looks"}
	}
}

// isWithin reports whether a cgroup is the folder, or below it.
func isWithin(cgroup, folder string) bool {
	return folder == "" || folder == "/" || cgroup == folder || strings.HasPrefix(cgroup, folder+"/")
}

func (a *Agent) tokenAnswer(identity, audience string) why.Answer {
	s := a.board.Token(token.Request{Identity: identity, Audience: audience})
	switch {
	case s.Held && s.Failure != nil:
		return why.Answer{State: why.OK, Says: fmt.Sprintf("one is at hand until %s, and was not renewed (%s): %v", when(s.Expires), s.Failure.Reason, s.Failure.Err)}
	case s.Held:
		return why.Answer{State: why.OK, Says: "one is at hand until " + when(s.Expires)}
	case s.Failure != nil:
		return why.Answer{State: why.No, Says: fmt.Sprintf("there is none (%s, since %s): %v", s.Failure.Reason, when(s.Failure.Since), s.Failure.Err),
			Do: fmt.Sprintf("lanyard why %s says what that means", s.Failure.Reason)}
	}
	return why.Answer{State: why.Unknown, Says: "none is at hand; the first request asks the authority for one"}
}

func (a *Agent) roomAnswer() why.Answer {
	open := a.injector.Open()
	says := fmt.Sprintf("%d of %d are open", open, a.connections)
	if open >= a.connections {
		return why.Answer{State: why.No, Says: says, Do: "raise the limit of open files (LimitNOFILE)"}
	}
	return why.Answer{State: why.OK, Says: says}
}
