//go:build !(linux && (amd64 || arm64))

package linux

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

var errNone = fmt.Errorf("bpf(2) on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)

func bpf(command, unsafe.Pointer, uintptr) (int, error) { return -1, errNone }

func undisturbed(f func() error) error { return f() }

func closeFD(int) error { return errNone }

// Booted is not known here.
func Booted() (time.Time, error) { return time.Time{}, errNone }
