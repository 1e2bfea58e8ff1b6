//go:build !linux

package device

import (
	"errors"
	"fmt"
	"runtime"
)

// OpenTAP needs Linux.
func OpenTAP(name string, _ int) (Port, error) {
	return nil, fmt.Errorf("tap %s: on %s: %w", name, runtime.GOOS, errors.ErrUnsupported)
}

// OpenInterface needs Linux.
func OpenInterface(name string, _ bool) (Port, error) {
	return nil, fmt.Errorf("interface %s: on %s: %w", name, runtime.GOOS, errors.ErrUnsupported)
}
