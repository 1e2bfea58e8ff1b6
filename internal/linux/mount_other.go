//go:build !linux

package linux

// MountForPin is not to be had here.
func MountForPin(string, bool) error { return errNone }
