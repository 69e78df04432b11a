package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func TestSigningKeys(t *testing.T) {
	client := startAuthority(t)
	kind, found := resource.FindKind("signing-keys")
	if !found {
		t.Fatal("there is no kind signing-keys")
	}
	all, err := client.List(t.Context(), kind)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	var status *StatusError
	if _, err := client.RotateSigningKey(t.Context()); !errors.As(err, &status) || status.Code != 409 || !strings.Contains(status.Message, "from ") {
		t.Errorf("too early: %v", err)
	}
	for _, key := range all {
		revoked, err := client.RevokeSigningKey(t.Context(), key.Name)
		if err != nil || revoked.Name != key.Name || revoked.Status.State != "revoked" {
			t.Errorf("%+v, %v", revoked, err)
		}
	}
	if _, err := client.RevokeSigningKey(t.Context(), "../x"); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("unknown key: %v", err)
	}
}
