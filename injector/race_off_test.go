//go:build !race

package injector

const raceAllowance = 0

const raceStacks = 0
