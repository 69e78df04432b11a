package authority

import (
	"errors"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// maxFilter bounds a value to filter by, in bytes.
const maxFilter = 256

// activityQuery is what a request for activity asks for.
type activityQuery struct {
	filter        store.EventFilter
	after, before int64 // sequence numbers between which the events are
	limit         int
	lines, follow bool
}

// serveActivity lists events, newest first, or streams them.
func (a *Authority) serveActivity(r *http.Request, by store.AdminToken) (reply, error) {
	query, err := parseActivityQuery(r)
	if err != nil {
		return reply{}, err
	}
	if query.lines {
		return a.streams.reply(by, func(s *stream) error { return a.streamActivity(s, query, by) })
	}
	if err := a.enterListing(by.ID); err != nil {
		return reply{}, err
	}
	defer a.listings.leave(by.ID)
	events, err := costly(a, r.Context(), func() ([]store.Event, error) { return listActivity(a.store.Read(r.Context()), query) })
	if err != nil {
		return reply{}, err
	}
	page := resource.Page[resource.Activity]{Items: []resource.Activity{}}
	for _, e := range events {
		page.Items = append(page.Items, activityOf(e))
	}
	if len(events) == query.limit {
		page.Next = strconv.FormatInt(events[len(events)-1].Sequence, 10)
	}
	return reply{status: http.StatusOK, body: page}, nil
}

// listActivity looks for events a window at a time, from the newest back.
func listActivity(q store.Queries, query activityQuery) ([]store.Event, error) {
	oldest, newest, err := q.EventSequences()
	if err != nil {
		return nil, err
	}
	first, before := max(query.after+1, oldest), min(query.before, newest+1)
	var all []store.Event
	for before > first && len(all) < query.limit {
		from, err := q.EventWindowBefore(before, eventWindow)
		if err != nil {
			return nil, err
		}
		if from = max(first, from); from == before {
			break
		}
		found, err := q.EventsBefore(query.filter, from-1, before, query.limit-len(all))
		if err != nil {
			return nil, err
		}
		all, before = append(all, found...), from
	}
	return all, nil
}

// verifyActivity looks at every event: it may take longer than another answer.
func (a *Authority) verifyActivity(r *http.Request, by store.AdminToken) (reply, error) {
	if r.URL.RawQuery != "" {
		return reply{}, badRequest("there are no query parameters here")
	}
	return a.streams.reply(by, func(s *stream) error {
		chain, err := a.store.VerifyEvents(s.ctx)
		answer := resource.ActivityChain{Intact: err == nil}
		switch {
		case err == nil:
			answer = activityChainOf(chain)
		case errors.Is(err, store.ErrTampered):
			answer.Problem = err.Error()
			a.log.ErrorContext(s.ctx, "the activity is not as it was written", "error", err)
		default:
			return err
		}
		return s.write(answer)
	})
}

func activityChainOf(c store.Chain) resource.ActivityChain {
	answer := resource.ActivityChain{Intact: true, First: c.First, Last: c.Sequence, Hash: c.Hash}
	for _, class := range c.Classes {
		answer.Classes = append(answer.Classes, resource.ActivityClassChain{
			Class: string(class.Class), Follows: class.Follows, First: class.First, Last: class.Sequence, Hash: class.Hash,
		})
	}
	return answer
}

func activityOf(e store.Event) resource.Activity {
	outcome := resource.OutcomeRefused
	if e.Allowed {
		outcome = resource.OutcomeAllowed
	}
	return resource.Activity{
		Sequence: e.Sequence, At: e.At, Kind: e.Kind, Outcome: outcome, Reason: e.Reason, Source: e.Source,
		Admin: e.AdminID, Ticket: e.TicketID, Workload: e.WorkloadID, TokenID: e.TokenID, Resource: e.Resource,
		Audiences: e.Audiences, Count: e.Count, Hash: e.Digest, Class: string(e.Class),
	}
}

func parseActivityQuery(r *http.Request) (activityQuery, error) {
	query := activityQuery{after: -1, before: math.MaxInt64, limit: defaultPage, lines: acceptsLines(r)}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query, badRequest("the query cannot be parsed")
	}
	for name, all := range values {
		if len(all) != 1 {
			return query, badRequest("the query parameter %.40q occurs twice", name)
		}
		if err := query.set(name, all[0]); err != nil {
			return query, err
		}
	}
	if query.lines && (values.Has("limit") || values.Has("before")) {
		return query, badRequest("limit and before are for a listing, not for a stream")
	}
	return query, nil
}

// acceptsLines reports whether the Accept field names the type of streams.
func acceptsLines(r *http.Request) bool {
	for accepted := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if media, _, err := mime.ParseMediaType(accepted); err == nil && media == resource.MediaTypeLines {
			return true
		}
	}
	return false
}

func (q *activityQuery) set(name, value string) (err error) {
	if value == "" || len(value) > maxFilter {
		return badRequest("the query parameter %.40q is not 1 to %d bytes", name, maxFilter)
	}
	switch name {
	case "kind":
		q.filter.Kind = value
	case "workload":
		q.filter.WorkloadID = value
	case "ticket":
		q.filter.TicketID = value
	case "admin":
		q.filter.AdminID = value
	case "outcome":
		q.filter.Allowed, err = parseOutcome(value)
	case "source":
		q.filter.Source, err = parseSource(value)
	case "since":
		q.filter.Since, err = parseTime(name, value)
	case "until":
		q.filter.Until, err = parseTime(name, value)
	case "after":
		q.after, err = parseSequence(name, value)
	case "before":
		q.before, err = parseSequence(name, value)
	case "limit":
		q.limit, err = strconv.Atoi(value)
		if err != nil || q.limit < 1 || q.limit > resource.MaxPage {
			return badRequest("limit is not between 1 and %d", resource.MaxPage)
		}
	case "format":
		if !slices.Contains([]string{"json", "jsonl"}, value) {
			return badRequest("format is not json or jsonl")
		}
		q.lines = q.lines || value == "jsonl"
	case "follow":
		if value != "true" {
			return badRequest("follow is not true")
		}
		q.follow, q.lines = true, true
	default:
		return badRequest("the query has the unknown parameter %.40q; known are kind, outcome, workload, ticket, admin, source, since, until, after, before, limit, format and follow", name)
	}
	return err
}

func parseOutcome(value string) (*bool, error) {
	allowed := value == resource.OutcomeAllowed
	if !allowed && value != resource.OutcomeRefused {
		return nil, badRequest("outcome is not %s or %s", resource.OutcomeAllowed, resource.OutcomeRefused)
	}
	return &allowed, nil
}

// parseSource gives an address the spelling that events have.
func parseSource(value string) (string, error) {
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return "", badRequest("source is no address")
	}
	return addr.Unmap().String(), nil
}

func parseTime(name, value string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, value)
	if err != nil || at.Unix() <= 0 {
		return time.Time{}, badRequest("%s is not a time like 2026-01-31T12:00:00Z", name)
	}
	return at, nil
}

func parseSequence(name, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, badRequest("%s is no sequence number", name)
	}
	return n, nil
}
