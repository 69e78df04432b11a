//go:build race

package injector

// The race detector makes pools forget on purpose.
const raceAllowance = 100

// raceStacks is by how much the race detector's frames may make the stacks of a pair grow.
const raceStacks = 4 << 10
