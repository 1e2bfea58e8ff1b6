//go:build !linux

package filter

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// live needs packet sockets, which only Linux has.
func (j *job) live(context.Context) error {
	return fmt.Errorf("--interface: packet sockets on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
