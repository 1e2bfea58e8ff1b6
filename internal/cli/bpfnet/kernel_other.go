//go:build !linux

package bpfnet

import (
	"errors"
	"fmt"
	"runtime"
)

func newKernel() (source, error) {
	return nil, fmt.Errorf("rtnetlink on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
