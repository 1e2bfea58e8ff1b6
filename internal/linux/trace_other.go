//go:build !linux

package linux

import "errors"

// Trace collects what programs print; only Linux has it.
type Trace struct{}

// OpenTrace fails with [errors.ErrUnsupported].
func OpenTrace(int) (*Trace, error) { return nil, errors.ErrUnsupported }

// Lines is never reached: there is no Trace.
func (*Trace) Lines() ([]string, error) { return nil, errors.ErrUnsupported }

// Close is never reached: there is no Trace.
func (*Trace) Close() error { return nil }
