package token

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestReasonOf(t *testing.T) {
	reached := map[Reason]bool{}
	for want, err := range map[Reason]error{
		"":                nil,
		ReasonUnreachable: ErrUnreachable,
		ReasonBusy:        &BusyError{Err: ErrUnreachable},
		ReasonNotEnrolled: fmt.Errorf("%w: refused: %w", ErrNotEnrolled, errors.New("401")),
		ReasonRefused:     &RefusedError{Message: "audience"},
		ReasonWrongToken:  ErrWrongToken,
		ReasonClock:       fmt.Errorf("%w; %w", ErrNotEnrolled, ErrClock),
		ReasonNoSource:    ErrNoSource,
		ReasonOther:       errors.New("no space left on device"),
	} {
		reached[want] = true
		if err != nil {
			err = fmt.Errorf("obtain token: %w", err)
		}
		if got := ReasonOf(err); got != want {
			t.Errorf("%v: reason %q, want %q", err, got, want)
		}
	}
	for _, reason := range Reasons() {
		if !reached[reason] {
			t.Errorf("no error has reason %q", reason)
		}
	}
	if slices.Contains(Reasons(), "") {
		t.Error("nothing is no reason")
	}
}
