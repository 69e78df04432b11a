package admin

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// maxLine bounds a line of a stream, in bytes.
const maxLine = 1 << 20

// ActivityFilter says which activity is meant; what is empty does not restrict it.
type ActivityFilter struct {
	Kind, Outcome, Source   string
	Admin, Ticket, Workload string
	Since, Until            time.Time
}

func (f ActivityFilter) values() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"kind": f.Kind, "outcome": f.Outcome, "source": f.Source, "admin": f.Admin, "ticket": f.Ticket, "workload": f.Workload,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return query
}

// RecentActivity returns up to n of the newest events, oldest first.
func (c *Client) RecentActivity(ctx context.Context, filter ActivityFilter, n int) ([]resource.Activity, error) {
	query := filter.values()
	all := []resource.Activity{}
	for len(all) < n {
		query.Set("limit", strconv.Itoa(min(n-len(all), resource.MaxPage)))
		var page resource.Page[resource.Activity]
		if err := c.do(ctx, http.MethodGet, resource.ActivityPath+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || len(page.Items) == 0 {
			break
		}
		query.Set("before", page.Next)
	}
	slices.SortFunc(all, func(a, b resource.Activity) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return all, nil
}

// StreamActivity calls each with every event behind the sequence number after, oldest
// first, and with follow goes on with those to come until ctx ends.
func (c *Client) StreamActivity(ctx context.Context, filter ActivityFilter, after int64, follow bool, each func(resource.Activity) error) error {
	query := filter.values()
	query.Set("format", "jsonl")
	query.Set("after", strconv.FormatInt(after, 10))
	if follow {
		query.Set("follow", "true")
	}
	return c.lines(ctx, resource.ActivityPath+"?"+query.Encode(), func(line []byte) error {
		var one resource.Activity
		if err := c.decode(line, &one); err != nil {
			return err
		}
		return each(one)
	})
}

// VerifyActivity has the authority look whether the activity is as it was written.
func (c *Client) VerifyActivity(ctx context.Context) (resource.ActivityChain, error) {
	var chain resource.ActivityChain
	err := c.lines(ctx, resource.ActivityVerifyPath, func(line []byte) error { return c.decode(line, &chain) })
	return chain, err
}

// lines reads an answer line by line, for as long as it goes on.
func (c *Client) lines(ctx context.Context, path string, each func([]byte) error) error {
	request, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	patient := *c.http
	patient.Timeout = 0
	response, err := patient.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(response.Body, maxLine))
		if err != nil {
			return fmt.Errorf("read authority's answer: %w", err)
		}
		return c.statusError(response.StatusCode, data)
	}
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		if err := each(scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read authority's answer: it was cut off: %w", err)
	}
	return nil
}
