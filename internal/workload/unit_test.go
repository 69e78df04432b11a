package workload

import "testing"

func TestSystemdUnitIsTheSystemManagers(t *testing.T) {
	for path, want := range map[string]string{
		"/system.slice/billing.service":                                    "billing.service",
		"/system.slice/billing.service/worker":                             "billing.service",
		"/system.slice/system-postgresql.slice/postgresql@15-main.service": "postgresql@15-main.service",
		"/init.scope": "init.scope",
		"/user.slice/user-1000.slice/session-3.scope":                       "session-3.scope",
		"/system.slice/docker-0123abcd.scope":                               "docker-0123abcd.scope",
		"/system.slice/cups.socket":                                         "cups.socket",
		"/system.slice/_cpu.service":                                        "cpu.service",
		"/user.slice/user-1000.slice/user@1000.service":                     "",
		"/user.slice/user-1000.slice/user@1000.service/init.scope":          "",
		"/user.slice/user-1000.slice/user@1000.service/billing.service":     "",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service": "",
		"/user@1000.service/system.slice/billing.service":                   "",
		"/docker/0123abcd/system.slice/billing.service":                     "",
		"/billing/billing.service":                                          "",
		"/system.slice":                                                     "",
		"/system.slice/.service":                                            "",
		"/system.slice/billing.timer":                                       "",
		"/":                                                                 "",
		"":                                                                  "",
	} {
		if got := SystemdUnit(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}
