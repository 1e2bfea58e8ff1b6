//go:build !linux

package linux

import (
	"context"
	"errors"
)

// EventPipe reads what programs write to a map of perf events; only Linux has it.
type EventPipe struct{}

// OpenEventPipe fails with [errors.ErrUnsupported].
func OpenEventPipe(*Map, uint32, int, int) (*EventPipe, error) { return nil, errors.ErrUnsupported }

// Each is never reached: there are no pipes.
func (*EventPipe) Each(context.Context, func(*PipeEvent) error) error { return errors.ErrUnsupported }

// Close is never reached: there are no pipes.
func (*EventPipe) Close() error { return nil }
