package resolver

import "fmt"

// asker is on whose account a look-up is made. Names that are not kept share their
// room by it, so that no identity's names are in the way of another's.
type asker struct {
	kind askerKind
	name string
}

type askerKind uint8

const (
	askerIdentity    askerKind = iota + 1 // asks for other addresses of a host
	askerDestination                      // has one of its hosts verified
	askerKeeper                           // this package
)

// nobody has no look-ups made.
var nobody asker

func identity(name string) asker {
	if name == "" {
		return nobody
	}
	return asker{askerIdentity, name}
}

func (a asker) String() string {
	switch a.kind {
	case askerIdentity:
		return fmt.Sprintf("identity %q", a.name)
	case askerDestination:
		return fmt.Sprintf("destination %q", a.name)
	case askerKeeper:
		return "the names of destinations"
	}
	return "a caller without an identity"
}
