package operator

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/token"
)

// ErrNoTicket says that a folder holds no enrolment, and that there is no ticket to
// make one with.
var ErrNoTicket = errors.New("no ticket")

// ErrOtherTicket says that a folder was enrolled with another ticket than the one
// given.
var ErrOtherTicket = errors.New("enrolled with another ticket")

// Ticket is the secret of a ticket, given as a value. It prints as redacted.
type Ticket struct{ secret string }

// NewTicket checks the form of a ticket's secret; the error does not repeat it.
func NewTicket(secret string) (Ticket, error) {
	if !isWord(secret) {
		return Ticket{}, errors.New("parse ticket: it is not one word of printable ASCII")
	}
	return Ticket{secret}, nil
}

// Format implements fmt.Formatter, so that no verb prints the secret.
func (t Ticket) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redacted")) }

// digest is what may be kept of a ticket: it says whether another is the same.
func (t Ticket) digest() string {
	digest := sha256.Sum256([]byte(t.secret))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// ticket returns the configured ticket, or reads its file. The errors never hold a
// byte of it.
func (c *Client) ticket() (Ticket, error) {
	path := c.config.TicketFile
	switch {
	case c.config.Ticket != Ticket{}:
		return c.config.Ticket, nil
	case path == "":
		return Ticket{}, fmt.Errorf("%w: %w was given and %s holds no enrolment", token.ErrNotEnrolled, ErrNoTicket, c.config.StateDir)
	}
	secret, err := privatefile.ReadGiven(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Ticket{}, fmt.Errorf("%w: there is no ticket file %s; make a ticket (lanyard ticket create) and write it there", token.ErrNotEnrolled, path)
	}
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: read ticket file: %w", token.ErrNotEnrolled, err)
	}
	t, err := NewTicket(secret)
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: ticket file %s does not hold one ticket on one line", token.ErrNotEnrolled, path)
	}
	return t, nil
}

// checkTicket refuses a ticket that is not the one the folder was enrolled with: who
// gives it wants another identity than he would get. A ticket file is not looked at
// once the workload is enrolled.
func (c *Client) checkTicket(e *Enrolment) error {
	if c.config.Ticket == (Ticket{}) || c.config.Ticket.digest() == e.TicketSHA256 {
		return nil
	}
	return fmt.Errorf("%w: %s holds workload %s already; go on as this one without a ticket, or name another folder for another identity",
		ErrOtherTicket, c.config.StateDir, e.WorkloadID)
}
