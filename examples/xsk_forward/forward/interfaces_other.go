//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
)

func interfaces(context.Context, string, string, func()) (int, error) {
	return 0, fmt.Errorf("interfaces of the kernel: %w: they need Linux", errors.ErrUnsupported)
}
