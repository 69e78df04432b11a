package telemetry_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func scrape(t *testing.T, r *telemetry.Recorder) string {
	t.Helper()
	answer := httptest.NewRecorder()
	r.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("scrape answered %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// counted returns the value of a series, or "" where there is none.
func counted(t *testing.T, r *telemetry.Recorder, series string) string {
	t.Helper()
	for line := range strings.SplitSeq(scrape(t, r), "\n") {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}

func TestMetricsCountWhatHappened(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	r.ObserveKernel(func() map[string]uint64 { return map[string]uint64{"redirected": 7, "bystander": 9} })
	r.ObserveConnections(func() int { return 3 })
	r.ObserveHooks(func() bool { return true })
	r.ObserveProblems(func() (failing, degraded int) { return 1, 2 })
	r.ObserveListeners(func() []telemetry.Listener {
		return []telemetry.Listener{
			{Kind: "metrics", Address: "127.0.0.1:3014", Refused: 4},
			{Kind: "local_api", Address: "[::1]:3013", Up: true, Connections: 2, Evicted: 5},
		}
	})
	r.LocalAPICall("answered")
	r.LocalAPICall("wrong_key")
	r.LocalAPICall("wrong_key")
	r.Use(use())
	r.Use(use())
	failed := use()
	failed.Outcome = workload.TokenUnavailable
	r.Use(failed)
	r.Use(telemetry.Use{Outcome: workload.BadRequest, Identity: "billing", Refusal: "two_lengths"})
	anonymous := use()
	anonymous.Outcome, anonymous.Anonymous = workload.Untouched, workload.AnonymousUnsafePath
	r.Use(anonymous)
	r.Use(telemetry.Use{Outcome: workload.NoDestination, Identity: "billing", Anonymous: workload.AnonymousUnknownHost, Nearby: "ledger"})
	r.Obtained(telemetry.Obtaining{Identity: "billing"})
	r.Obtained(telemetry.Obtaining{Identity: "billing", Err: errors.New("refused")})
	for series, want := range map[string]string{
		`lanyard_requests_total{destination="ledger",identity="billing",outcome="injected"}`:              "2",
		`lanyard_requests_total{destination="ledger",identity="billing",outcome="token_unavailable"}`:     "1",
		`lanyard_requests_total{destination="",identity="billing",outcome="bad_request"}`:                 "1",
		`lanyard_anonymous_requests_total{destination="ledger",identity="billing",reason="unsafe_path"}`:  "1",
		`lanyard_anonymous_requests_total{destination="ledger",identity="billing",reason="unknown_host"}`: "1",
		`lanyard_requests_total{destination="",identity="billing",outcome="no_destination"}`:              "1",
		`lanyard_bad_requests_total{reason="two_lengths"}`:                                                "1",
		`lanyard_token_fetches_total{identity="billing",result="obtained"}`:                               "1",
		`lanyard_token_fetches_total{identity="billing",result="failed"}`:                                 "1",
		`lanyard_kernel_events_total{event="redirected"}`:                                                 "7",
		`lanyard_kernel_events_total{event="bystander"}`:                                                  "9",
		`lanyard_open_connections`:                                                                                "3",
		`lanyard_hooks_up`:                                                                                        "1",
		`lanyard_problems{severity="failing"}`:                                                                    "1",
		`lanyard_problems{severity="degraded"}`:                                                                   "2",
		`lanyard_local_api_requests_total{result="answered"}`:                                                     "1",
		`lanyard_local_api_requests_total{result="wrong_key"}`:                                                    "2",
		`lanyard_listener_up{address="127.0.0.1:3014",listener="metrics"}`:                                        "0",
		`lanyard_listener_up{address="[::1]:3013",listener="local_api"}`:                                          "1",
		`lanyard_listener_connections{address="[::1]:3013",listener="local_api"}`:                                 "2",
		`lanyard_listener_closed_connections_total{address="127.0.0.1:3014",listener="metrics",reason="refused"}`: "4",
		`lanyard_listener_closed_connections_total{address="[::1]:3013",listener="local_api",reason="evicted"}`:   "5",
	} {
		if got := counted(t, r, series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
	if !strings.Contains(scrape(t, r), `lanyard_build_info{go_version="go1.`) {
		t.Error("no build info")
	}
	r.ObserveKernel(nil)
	r.ObserveConnections(nil)
	r.ObserveHooks(nil)
	r.ObserveProblems(nil)
	if strings.Contains(scrape(t, r), "redirected") {
		t.Error("a removed source is still read")
	}
}

func TestWhatTheHopAdds(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	r.ConnectionLimit(10_000)
	sent := func(status int, added time.Duration, outcome workload.Outcome) {
		u := use()
		u.Start, u.Status, u.Outcome = time.Unix(1000, 0), status, outcome
		u.Sent = u.Start.Add(added)
		r.Use(u)
	}
	sent(200, 40*time.Microsecond, workload.Injected)
	sent(204, 60*time.Microsecond, workload.Injected)
	sent(503, 20*time.Second, workload.Untouched)
	sent(0, time.Millisecond, workload.Injected)
	sent(400, time.Millisecond, workload.BadRequest) // answered here, its body being malformed
	here := use()
	here.Status = 503 // and it was not sent on
	r.Use(here)
	const added, responses = `lanyard_request_added_latency_seconds`, `lanyard_upstream_responses_total{destination="ledger",status_class=`
	for series, want := range map[string]string{
		added + `_count{destination="ledger"}`:               "5",
		added + `_bucket{destination="ledger",le="2.5e-05"}`: "0",
		added + `_bucket{destination="ledger",le="5e-05"}`:   "1",
		added + `_bucket{destination="ledger",le="0.0001"}`:  "2",
		added + `_bucket{destination="ledger",le="0.001"}`:   "4",
		added + `_bucket{destination="ledger",le="15"}`:      "4",
		added + `_bucket{destination="ledger",le="+Inf"}`:    "5",
		added + `_sum{destination="ledger"}`:                 "20.0021",
		responses + `"2xx"}`:                                 "2",
		responses + `"5xx"}`:                                 "1",
		responses + `"4xx"}`:                                 "",
		responses + `"none"}`:                                "2",
		"lanyard_max_connections":                            "10000",
	} {
		if got := counted(t, r, series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
}

func TestHowLongTokensTake(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	start := time.Unix(1000, 0)
	r.Obtained(telemetry.Obtaining{Start: start, End: start.Add(20 * time.Millisecond)})
	r.Obtained(telemetry.Obtaining{Start: start, End: start.Add(16 * time.Second), Err: errors.New("away")})
	for series, want := range map[string]string{
		`lanyard_token_fetch_duration_seconds_bucket{result="obtained",le="0.01"}`:  "0",
		`lanyard_token_fetch_duration_seconds_bucket{result="obtained",le="0.025"}`: "1",
		`lanyard_token_fetch_duration_seconds_bucket{result="failed",le="15"}`:      "0",
		`lanyard_token_fetch_duration_seconds_sum{result="failed"}`:                 "16",
	} {
		if got := counted(t, r, series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
}

func TestResultOfAReload(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	want := func(successful, when string) {
		t.Helper()
		for series, want := range map[string]string{
			"lanyard_config_last_reload_successful": successful, "lanyard_config_last_reload_success_timestamp_seconds": when,
		} {
			if got := counted(t, r, series); got != want {
				t.Errorf("%s is %q, want %q", series, got, want)
			}
		}
	}
	want("", "")
	r.ConfigLoaded(time.Unix(1000, 0))
	want("1", "1000")
	r.ConfigRefused()
	want("0", "1000")
	r.ConfigLoaded(time.Unix(2000, 5e8))
	want("1", "2000.5")
}

func TestSeriesAreBounded(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	u := use()
	for i := range 3000 {
		u.Destination = fmt.Sprint("d", i)
		r.Use(u)
		r.Use(u)
	}
	if got := strings.Count(scrape(t, r), "\nlanyard_requests_total{"); got > 1025 {
		t.Errorf("%d series", got)
	}
	const other = `lanyard_requests_total{destination="_other",identity="_other",outcome="injected"}`
	if got := counted(t, r, other); got != fmt.Sprint(2*(3000-1024)) {
		t.Errorf("beyond the bound %q were counted", got)
	}
}

// Only what is malformed has a reason, and no more reasons are kept than series.
func TestRefusalsAreCountedByReason(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	r.Use(use())
	if scraped := scrape(t, r); strings.Contains(scraped, "\nlanyard_bad_requests_total") {
		t.Errorf("a forwarded request is counted as refused:\n%s", scraped)
	}
	for i := range 3000 {
		r.Use(telemetry.Use{Outcome: workload.BadRequest, Refusal: fmt.Sprint("r", i)})
	}
	if got := counted(t, r, `lanyard_bad_requests_total{reason="_other"}`); got != fmt.Sprint(3000-1024) {
		t.Errorf("beyond the bound %q were counted", got)
	}
}

func TestKernelCountersAreBounded(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	r.ObserveKernel(func() map[string]uint64 {
		events := map[string]uint64{}
		for i := range 1000 {
			events[fmt.Sprintf("event%04d\xff", i)] = 1
		}
		return events
	})
	if got := strings.Count(scrape(t, r), "\nlanyard_kernel_events_total{"); got != 128 {
		t.Errorf("%d kernel counters", got)
	}
}

func TestConcurrentUsesAreAllCounted(t *testing.T) {
	noExporter(t)
	r := setup(t, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			u := use()
			for i := range 500 {
				u.Destination = fmt.Sprint("d", i%50)
				r.Use(u)
			}
		})
	}
	all.Wait()
	for i := range 50 {
		series := fmt.Sprintf(`lanyard_requests_total{destination="d%d",identity="billing",outcome="injected"}`, i)
		if got := counted(t, r, series); got != "80" {
			t.Errorf("%s is %q", series, got)
		}
	}
}

func TestDebugLogsEveryRequest(t *testing.T) {
	noExporter(t)
	var log bytes.Buffer
	level := new(slog.LevelVar)
	r := setup(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})))
	u := use()
	u.Outcome, u.Reason = workload.DestinationUnverified, errors.New("10.9.0.1 is not ledger.internal")
	r.Use(u)
	r.Obtained(telemetry.Obtaining{Err: errors.New("refused")})
	if log.Len() > 0 {
		t.Errorf("above debug level: %s", log.String())
	}
	level.Set(slog.LevelDebug)
	r.Use(u)
	r.Use(use())
	r.Obtained(telemetry.Obtaining{Identity: "billing", Err: errors.New("refused")})
	r.Obtained(telemetry.Obtaining{Identity: "billing", TokenID: "jti-2"})
	for _, want := range []string{
		`outcome=destination_unverified`, `error="10.9.0.1 is not ledger.internal"`, `outcome=injected`, `pid=4711`,
		`destination=ledger`, `token_id=jti-1`, `address=10.9.0.1:8080`, `error=refused`, `token_id=jti-2`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, log.String())
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 4 {
		t.Errorf("%d lines:\n%s", got, log.String())
	}
}

func TestUseWithoutExporterAllocatesNothing(t *testing.T) {
	noExporter(t)
	var log bytes.Buffer
	r := setup(t, slog.New(slog.NewTextHandler(&log, nil)))
	u := use()
	r.Use(u)
	if got := testing.AllocsPerRun(1000, func() { r.Use(u) }); got != 0 {
		t.Errorf("%v allocations per use", got)
	}
}

func BenchmarkUseWithoutExporter(b *testing.B) {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		b.Setenv(name, "")
	}
	r, err := telemetry.Setup(b.Context(), telemetry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	u := use()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Use(u)
		}
	})
}
