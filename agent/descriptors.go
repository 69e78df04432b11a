//go:build linux

package agent

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/injector"
)

// A connection holds two descriptors, the client's socket and the destination's.
// Of the limit of open files an eighth, within bounds, is left for all else: BPF
// objects and listeners (some 120 in all), /proc, the pipes of splices, which go
// without where there are none, and, a quarter of them, the connections of optional
// listeners: these never take what the injector counts on.
const (
	descriptorsPerConnection = 2
	shareForOthers           = 8
	leastForOthers           = 192
	mostForOthers            = 1000
	shareForListeners        = 4
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
	left := files - min(files, filesForOthers(files))
	return int(max(1, min(left/descriptorsPerConnection, injector.DefaultConnections)))
}

// placesWithin returns how many connections each of so many optional listeners may
// hold under a limit of open files.
func placesWithin(files uint64, listeners int) int {
	return max(1, int(filesForOthers(files)/shareForListeners)/max(1, listeners))
}

// filesForOthers returns how many open files are for all else than the injector's
// connections.
func filesForOthers(files uint64) uint64 {
	return min(max(files/shareForOthers, leastForOthers), mostForOthers)
}

// connectionLimit bounds the injector's connections by what this process may
// open, and says so where that is less than usual.
func (a *Agent) connectionLimit() (int, error) {
	files, err := openFiles()
	if err != nil {
		return 0, err
	}
	a.openFiles = files
	connections := connectionsWithin(files)
	if connections < injector.DefaultConnections {
		a.log.Warn("the limit of open files allows fewer connections than usual; raise it (ulimit -Hn, LimitNOFILE=) to hold more",
			"open_files", files, "connections", connections, "usual", injector.DefaultConnections)
	}
	return connections, nil
}
