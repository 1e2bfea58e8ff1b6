//go:build !linux

package linux

import "errors"

// Events takes what programs write to user space out of a map; only Linux has it.
type Events struct{}

// Events fails with [errors.ErrUnsupported].
func (m *Map) Events() (*Events, error) { return nil, errors.ErrUnsupported }

// Drain is never reached: there are no Events.
func (*Events) Drain(func(sample []byte, lost uint64)) error { return errors.ErrUnsupported }

// Close is never reached: there are no Events.
func (*Events) Close() error { return nil }
