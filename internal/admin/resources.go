package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// Get returns one resource.
func (c *Client) Get(ctx context.Context, kind resource.KindInfo, name string) (resource.Any, error) {
	var found resource.Any
	err := c.do(ctx, http.MethodGet, pathOf(kind, name), nil, &found)
	return found, err
}

// List returns all resources of a kind, in no particular order.
func (c *Client) List(ctx context.Context, kind resource.KindInfo) ([]resource.Any, error) {
	return list[resource.Any](ctx, c, kind.Path)
}

// Delete removes a resource.
func (c *Client) Delete(ctx context.Context, kind resource.KindInfo, name string) error {
	_, err := c.ask(ctx, http.MethodDelete, pathOf(kind, name), nil, nil)
	return err
}

// Change is what applying a declaration did.
type Change string

// What applying a declaration did.
const (
	Created   Change = "created"
	Changed   Change = "changed"
	Unchanged Change = "unchanged"
)

// Apply makes a resource what the declaration says. A secret that this made is in
// the answer, this once. Somebody else's edit at the same time is an error.
func (c *Client) Apply(ctx context.Context, kind resource.KindInfo, declaration resource.Declaration[json.RawMessage]) (resource.Any, Change, error) {
	path := pathOf(kind, declaration.Name)
	before, err := c.ask(ctx, http.MethodGet, path, nil, nil)
	condition := map[string]string{"If-Match": before.etag}
	if isNotFound(err) {
		condition, err = map[string]string{"If-None-Match": "*"}, nil
	}
	if err != nil {
		return resource.Any{}, "", err
	}
	after, err := c.ask(ctx, http.MethodPut, path, condition, declaration)
	if err != nil {
		return resource.Any{}, "", err
	}
	change := Changed
	switch {
	case after.status == http.StatusCreated:
		change = Created
	case after.etag == before.etag:
		change = Unchanged
	}
	var now resource.Any
	err = c.decode(after.body, &now)
	return now, change, err
}

func isNotFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

func pathOf(kind resource.KindInfo, name string) string {
	return kind.Path + "/" + url.PathEscape(name)
}
