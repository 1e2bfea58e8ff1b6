//go:build !linux

package afxdp

import (
	"errors"
	"fmt"
)

// Linux is an AF_XDP socket of a Linux kernel, of which there is none here.
type Linux struct{ Sys }

// NewLinux fails.
func NewLinux() (*Linux, error) {
	return nil, fmt.Errorf("AF_XDP sockets of the kernel: %w", errors.ErrUnsupported)
}
