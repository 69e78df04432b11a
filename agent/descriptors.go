//go:build linux

package agent

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/injector"
)

// A connection holds two descriptors, the client's socket and the destination's.
// Of the limit of open files an eighth, within bounds, is left for all else: BPF
// objects and listeners (some 70 in all), the local API, /proc, and the pipes of
// splices, which go without where there are none.
const (
	descriptorsPerConnection = 2
	shareForOthers           = 8
	leastForOthers           = 128
	mostForOthers            = 1000
)

// openFiles returns the limit of open files. Go raises it to what the system
// allows this process, when that starts.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// connectionsWithin returns how many connections the injector may hold under a
// limit of open files.
func connectionsWithin(files uint64) int {
	others := min(max(files/shareForOthers, leastForOthers), mostForOthers)
	left := files - min(files, others)
	return int(max(1, min(left/descriptorsPerConnection, injector.DefaultConnections)))
}

// connectionLimit bounds the injector's connections by what this process may
// open, and says so where that is less than usual.
func (a *Agent) connectionLimit() (int, error) {
	files, err := openFiles()
	if err != nil {
		return 0, err
	}
	connections := connectionsWithin(files)
	if connections < injector.DefaultConnections {
		a.log.Warn("the limit of open files allows fewer connections than usual; raise it (ulimit -Hn, LimitNOFILE=) to hold more",
			"open_files", files, "connections", connections, "usual", injector.DefaultConnections)
	}
	return connections, nil
}
