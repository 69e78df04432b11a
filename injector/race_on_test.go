//go:build race

package injector

// The race detector makes pools forget on purpose.
const raceAllowance = 100
