package check

import (
	"fmt"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Places says of which destinations nobody can be who has to serve them: served_by names
// a cgroup that there is not, or a unit where no systemd runs.
func Places(policy *registry.Policy, isCgroup func(path string) bool, systemd bool) []string {
	var warnings []string
	for _, d := range policy.Destinations() {
		for _, path := range d.ServedBy.Values(workload.KindCgroup) {
			if !workload.IsGlob(path) && !isCgroup(path) {
				warnings = append(warnings, fmt.Sprintf("destination %s: served_by names cgroup %s, which does not exist now, so that it gets no token until it does; "+
					"correct the path, which begins below the cgroup2 mount, or start the server", d.Name, Printable(path)))
			}
		}
		if units := d.ServedBy.Values(workload.KindSystemdUnit); len(units) > 0 && !systemd {
			warnings = append(warnings, fmt.Sprintf("destination %s: served_by names unit %s, and systemd does not run on this host, so that it gets no token; "+
				"write served_by: {cgroup: PATH} or {user: NAME}", d.Name, Printable(units[0])))
		}
	}
	return warnings
}
