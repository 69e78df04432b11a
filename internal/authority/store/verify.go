package store

import (
	"errors"
	"fmt"
)

// ClassChain is the chain of one class: the event First follows one, removed by
// retention, with the hash Follows, and so does the next event where there is none.
type ClassChain struct {
	Class    Class
	Follows  string
	First    int64  // sequence number of the oldest event; 0 if there is none
	Sequence int64  // of the newest one
	Hash     string // of the newest one, or Follows
}

// verifier follows all chains at once, in the order of the numbers.
type verifier struct {
	chains  map[Class]*chainSoFar
	anchors int64 // the newest event that retention has removed, of whatever class
	last    int64 // the event before
	chain   Chain
}

// chainSoFar is one chain, and what is to be found on it.
type chainSoFar struct {
	ClassChain
	anchor   int64
	headSeq  int64 // this event is there, with that hash, unless it is not beyond the anchor
	headHash string
	headSeen bool
}

func (q Queries) verifyEvents() (Chain, error) {
	v, err := q.newVerifier()
	if err != nil {
		return Chain{}, err
	}
	rows, err := q.query("SELECT " + eventColumns + " FROM events ORDER BY seq")
	if err != nil {
		return Chain{}, err
	}
	defer rows.Close()
	for rows.Next() {
		event, err := scanEvent(rows)
		if err == nil {
			err = v.next(event)
		}
		if err != nil {
			return Chain{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return Chain{}, explain(err)
	}
	given, err := q.count(lastSequenceGiven)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Chain{}, err
	}
	return v.end(given)
}

func (q Queries) newVerifier() (*verifier, error) {
	rows, err := q.query("SELECT class, seq, hash, head_seq, head_hash FROM event_chains")
	if err != nil {
		return nil, fmt.Errorf("read the anchors of the chains: %w", err)
	}
	defer rows.Close()
	v := &verifier{chains: make(map[Class]*chainSoFar)}
	for rows.Next() {
		var c chainSoFar
		if err := rows.Scan(&c.Class, &c.anchor, &c.Follows, &c.headSeq, &c.headHash); err != nil {
			return nil, fmt.Errorf("read the anchors of the chains: %w", explain(err))
		}
		c.Hash = c.Follows
		v.chains[c.Class] = &c
		v.anchors = max(v.anchors, c.anchor)
	}
	return v, explain(rows.Err())
}

// next looks at one event, and at whether one is missing before it: retention removes
// none beyond the anchors.
func (v *verifier) next(e Event) error {
	before := max(v.last, v.anchors)
	v.last = e.Sequence
	c := v.chains[e.Class]
	switch {
	case c == nil || e.Sequence <= c.anchor:
		return fmt.Errorf("%w: event %d is in no chain that it could be in", ErrTampered, e.Sequence)
	case e.Sequence > v.anchors && e.Sequence != before+1:
		return fmt.Errorf("%w: event %d follows event %d: what was between is missing", ErrTampered, e.Sequence, before)
	case e.Hash(c.Hash) != e.Digest:
		return fmt.Errorf("%w: event %d, or the one before it of class %q, is not as it was written", ErrTampered, e.Sequence, e.Class)
	}
	if v.chain.First == 0 {
		v.chain.First = e.Sequence
	}
	if c.First == 0 {
		c.First = e.Sequence
	}
	c.Sequence, c.Hash, v.chain.Hash = e.Sequence, e.Digest, e.Digest
	c.headSeen = c.headSeen || e.Sequence == c.headSeq && e.Digest == c.headHash
	return nil
}

// end looks for what is missing at the ends, given being the number of the newest event
// that there ever was.
func (v *verifier) end(given int64) (Chain, error) {
	last := max(v.last, v.anchors)
	if given > last {
		return Chain{}, fmt.Errorf("%w: there were %d events, and the last one is %d", ErrTampered, given, last)
	}
	for _, class := range classes {
		c := v.chains[class]
		if c == nil {
			return Chain{}, fmt.Errorf("%w: the chain of class %q has no anchor", ErrTampered, class)
		}
		if c.headSeq > c.anchor && !c.headSeen {
			return Chain{}, fmt.Errorf("%w: event %d of class %q is missing, or not as it was written", ErrTampered, c.headSeq, class)
		}
		v.chain.Classes = append(v.chain.Classes, c.ClassChain)
		if v.last < v.anchors && c.anchor == v.anchors {
			v.chain.Hash = c.Follows
		}
	}
	if v.chain.First == 0 {
		v.chain.First = last + 1
	}
	v.chain.Sequence = last
	return v.chain, nil
}
