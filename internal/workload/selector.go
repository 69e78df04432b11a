package workload

// Selector says what a process must be to have an identity: every kind of
// condition that it names must hold, and within a kind any of the values.
type Selector struct{}
