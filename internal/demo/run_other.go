//go:build !linux

package demo

import (
	"context"
	"fmt"
	"runtime"
)

// Run reports that the agent, and so the demo, needs Linux.
func Run(context.Context, Options) error {
	return fmt.Errorf("%w: this is %s, and Lanyard recognises processes in the Linux kernel", ErrUnsupported, runtime.GOOS)
}
