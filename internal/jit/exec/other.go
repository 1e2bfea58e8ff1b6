//go:build !linux || !(amd64 || arm64)

package exec

import (
	"errors"
	"fmt"
	"runtime"
)

// Finish and Returned are return addresses that lead out of native code.
const Finish, Returned uint64 = 0, 0

type link struct{}

// Host returns the features of the processor at hand.
func Host() Features { return Features{} }

// Available says why native code cannot be run here.
func Available() error {
	return fmt.Errorf("native code on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}

// Init prepares a context for its first use.
func (c *Context) Init(int, uint64) {}

// Call cannot be reached, either.
func (c *Context) Call(addr, ret uint64) {
	panic("BUG: native code called where there is none")
}

// Enter cannot be reached, as no code can be installed.
func Enter(*Context) { panic("BUG: native code entered where there is none") }

// Start is Enter at a function's beginning.
func Start(*Context, uint64, uint64) { Enter(nil) }

// Turns is Start many times.
func Turns(*Context) { Enter(nil) }

// Text is installed code.
type Text struct{}

// Install fails on this platform.
func Install([]byte) (*Text, error) { return nil, Available() }

// InstallSealed fails on this platform.
func InstallSealed([]byte) (*Text, error) { return nil, Available() }

// InstallAnonymous fails on this platform.
func InstallAnonymous([]byte) (*Text, error) { return nil, Available() }

// Addr is the address of the first instruction.
func (t *Text) Addr() uint64 { return 0 }

// Free gives the memory back.
func (t *Text) Free() {}
