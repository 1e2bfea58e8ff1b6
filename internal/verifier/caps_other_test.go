//go:build !linux

package verifier_test

import "errors"

func withCapBPF(func()) error { return errors.ErrUnsupported }
