package registry

import (
	"fmt"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Resources is what an administrator wrote, before anything of it was checked.
type Resources struct {
	Identities   []IdentitySpec
	Destinations []DestinationSpec
}

// IdentitySpec is one registered identity as it was written.
type IdentitySpec struct {
	Name     string
	Match    workload.SelectorSpec
	LocalAPI bool
}

// DestinationSpec is one registered destination as it was written. The zero
// values of the choices stand for their defaults.
type DestinationSpec struct {
	Name                  string
	Hosts                 []string
	Ports                 []int
	Addresses             []string
	Audience              string
	Identities            []string
	Observe               bool   // enforce: false
	Verify                string // dns or addresses
	Before                string // end or count
	ExistingAuthorization string
	OnFailure             string
	Unknown               string
	Methods               []string
	Paths                 []string
	ServedBy              *ServerSpec
}

// ServerSpec says who has to own the listening socket of a destination.
type ServerSpec struct {
	SystemdUnits []string
	Cgroups      []string
	Users        []string // names, or numbers
}

// Problem is one thing that is wrong, or that an administrator should know, and
// what to do about it.
type Problem struct {
	Path   string // of the resource or field, such as identities[0].match.exe[1]
	Reason string
}

// Error names the field and the reason.
func (p Problem) Error() string { return p.Path + ": " + p.Reason }

// Problems is everything that is wrong with a set of resources.
type Problems []Problem

// Error joins what is wrong.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.Error()
	}
	return "compile policy: " + strings.Join(texts, "; ")
}

// report collects problems and warnings while resources are compiled.
type report struct {
	problems Problems
	warnings []Problem
}

func (r *report) wrong(path, format string, args ...any) {
	r.problems = append(r.problems, Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

func (r *report) warn(path, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// element names one element of a list.
func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
