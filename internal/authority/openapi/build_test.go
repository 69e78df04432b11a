package openapi

import (
	"strings"
	"testing"
)

func TestKindsThatDoNotFitAreErrors(t *testing.T) {
	ticket := Kind{Name: "Ticket", Path: "/admin/v1/tickets", Create: true, Change: true, Remove: true}
	for name, tt := range map[string]struct {
		kinds []Kind
		says  string
	}{
		"no words for it":       {[]Kind{{Name: "Badge", Path: "/admin/v1/badges"}}, "kinds/Badge.yaml"},
		"twice":                 {[]Kind{ticket, ticket}, "stands there twice"},
		"at the path of others": {[]Kind{{Name: "Ticket", Path: "/admin/v1/activity"}}, "stands there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Build(Config{URL: "https://id.example", Kinds: tt.kinds}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v does not say %q", err, tt.says)
			}
		})
	}
}

func TestNouns(t *testing.T) {
	for name, want := range map[string]string{"Ticket": "a ticket", "AdminToken": "an admin token", "TicketFactory": "a ticket factory"} {
		if got := withArticle(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
