package demo

import (
	"errors"
	"io"
)

// Options say how the story is told.
type Options struct {
	Binary string    // path of the lanyard executable that plays every part
	Out    io.Writer // the story
	Color  bool      // for a terminal
	// Keep leaves everything running after the last step, until the context ends.
	Keep bool
}

// ErrUnsupported says that the demo cannot run on this machine at all. The message
// says what is missing and what to do.
var ErrUnsupported = errors.New("the demo cannot run here")
