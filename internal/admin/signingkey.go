package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// RotateSigningKey has the next key sign, and returns it.
func (c *Client) RotateSigningKey(ctx context.Context) (resource.SigningKey, error) {
	var active resource.SigningKey
	err := c.do(ctx, http.MethodPost, resource.SigningKeysPath+"/rotate", nil, &active)
	return active, err
}

// RevokeSigningKey takes the key of that id out of use, and returns it.
func (c *Client) RevokeSigningKey(ctx context.Context, name string) (resource.SigningKey, error) {
	var revoked resource.SigningKey
	err := c.do(ctx, http.MethodPost, resource.SigningKeysPath+"/"+url.PathEscape(name)+"/revoke", nil, &revoked)
	return revoked, err
}
