//go:build !race

package injector

const raceAllowance = 0
