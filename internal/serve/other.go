//go:build !linux || !(amd64 || arm64)

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Exec is not to be had here.
func Exec(*Options) (int, error) {
	return 0, fmt.Errorf("system calls cannot be intercepted on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}

// Available says why programs cannot be served here.
func Available() error {
	_, err := Exec(nil)
	return err
}

// Listen is not to be had here.
func Listen(*ListenOptions) error { return Available() }

// Ask is not to be had here.
func Ask(context.Context, string, string, any, []*os.File, func(json.RawMessage) error) error {
	return Available()
}

func private(string) error { return errors.ErrUnsupported }

// Shim does nothing here.
func Shim() int { return NotBegun }

// Join is not to be had here.
func Join(string, bool, io.Writer) error { return Available() }
