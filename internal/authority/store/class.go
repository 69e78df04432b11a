package store

import (
	"errors"
	"fmt"
	"slices"
)

// Class is what an event is of. Each class is a chain of hashes of its own, and its
// oldest events go without regard to those of the others.
type Class string

// Classes. An event without one is from before there were classes: those are a chain
// that is not added to any more.
const (
	BeforeClasses   Class = ""
	Administration  Class = "administration"  // what administrators, and the authority itself, changed
	Enrolment       Class = "enrolment"       // workloads and tickets made, keys replaced
	Traffic         Class = "traffic"         // tokens and secrets, and what workloads were refused
	Unauthenticated Class = "unauthenticated" // what strangers were refused
)

// classes are all of them, each at its index.
var classes = [...]Class{BeforeClasses, Administration, Enrolment, Traffic, Unauthenticated}

// Classes returns all classes.
func Classes() []Class { return classes[:] }

func (c Class) index() int { return slices.Index(classes[:], c) }

// perClass counts events by the index of their class.
type perClass [len(classes)]int64

// ends are the ends of the chains, which the next events follow.
type ends struct {
	sequence int64            // of the newest event there ever was
	hashes   map[Class]string // of the newest of a class; read as they are needed
}

// endOf returns the hash that the next event of the class follows.
func (tx *Tx) endOf(class Class) (string, error) {
	if tx.ends == nil {
		sequence, err := tx.lastSequence()
		if err != nil {
			return "", err
		}
		tx.ends = &ends{sequence: sequence, hashes: make(map[Class]string)}
	}
	hash, known := tx.ends.hashes[class]
	if known {
		return hash, nil
	}
	err := tx.row([]any{&hash}, "SELECT hash FROM events WHERE class = $1 ORDER BY seq DESC LIMIT 1", class)
	if errors.Is(err, ErrNotFound) {
		err = tx.row([]any{&hash}, "SELECT hash FROM event_chains WHERE class = $1", class)
	}
	if err != nil {
		return "", fmt.Errorf("read end of the chain of class %q: %w", class, err)
	}
	tx.ends.hashes[class] = hash
	return hash, nil
}

// lastSequence is the number of the newest event that there is, or that retention has
// removed.
func (q Queries) lastSequence() (int64, error) {
	return q.count("SELECT max(coalesce((SELECT max(seq) FROM events), 0), (SELECT max(seq) FROM event_chains))")
}

// countEvents returns how many events there are of each class.
func (q Queries) countEvents() (counts perClass, err error) {
	for i, class := range classes {
		if counts[i], err = q.count("SELECT count(*) FROM events WHERE class = $1", class); err != nil {
			return counts, fmt.Errorf("count events: %w", err)
		}
	}
	return counts, nil
}
