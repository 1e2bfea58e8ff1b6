//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
)

func run(context.Context, string, string, uint64) error {
	return fmt.Errorf("handing a running service over is for Linux: %w", errors.ErrUnsupported)
}
