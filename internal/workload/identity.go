package workload

import (
	"fmt"
	"strings"
)

// Identity is a registered workload identity: a name and what a process must be
// to have it. Where its tokens come from is the token package's business.
type Identity struct {
	Name     string
	Selector Selector
	// LocalAPI allows a process that the kernel attributed to this identity to
	// fetch its raw token from the local API without the API key.
	LocalAPI bool
}

// AmbiguousError says that a process matches two identities equally well.
type AmbiguousError struct {
	Image      Image
	Identities []string // all that tie, sorted; at least two
}

// Error names every identity of the tie and what to do about it.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("identify %v: identities %s match equally well; make one of them more specific",
		e.Image, strings.Join(e.Identities, " and "))
}
