package skep

import (
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/internal/errno"
)

// Errors to test for with errors.Is. Those of maps carry the kernel's errno as
// well: errors.As(err, *Errno) tells it.
var (
	ErrKeyNotExist      = errors.New("key does not exist")
	ErrKeyExist         = errors.New("key already exists")
	ErrIterationAborted = errors.New("iteration aborted")
	ErrMapFull          = errors.New("map is full")
	ErrNotSupported     = errors.ErrUnsupported
	ErrClosed           = errors.New("already closed")
)

// Errno is a Linux error number as bpf(2) returns it, the same on every platform.
type Errno = errno.Errno

// mapError is a map operation that failed.
type mapError struct {
	op   string
	name string
	num  errno.Errno
	is   error // the sentinel, or nil
}

func (e *mapError) Error() string {
	if e.is != nil {
		return fmt.Sprintf("map %s: %s: %v", e.name, e.op, e.is)
	}
	return fmt.Sprintf("map %s: %s: %s (%s)", e.name, e.op, e.num.Error(), e.num.Name())
}

func (e *mapError) Unwrap() []error {
	if e.is != nil {
		return []error{e.is, e.num}
	}
	return []error{e.num}
}

// sentinels are the numbers that say something more precise than their words.
var sentinels = map[errno.Errno]error{
	errno.ENOENT:     ErrKeyNotExist,
	errno.EEXIST:     ErrKeyExist,
	errno.E2BIG:      ErrMapFull,
	errno.ENOTSUPP:   ErrNotSupported,
	errno.EOPNOTSUPP: ErrNotSupported,
}

// wrapMap gives a map's error its operation and its sentinel.
func wrapMap(name, op string, err error) error {
	if err == nil {
		return nil
	}
	num, ok := err.(errno.Errno)
	if !ok && !errors.As(err, &num) {
		return fmt.Errorf("map %s: %s: %w", name, op, err)
	}
	return &mapError{op: op, name: name, num: num, is: sentinels[num]}
}
