package verifier_test

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// withCapBPF calls f in a thread that has no capability but CAP_BPF.
func withCapBPF(f func()) error {
	runtime.LockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, only [2]unix.CapUserData
	if err := unix.Capget(&hdr, &had[0]); err != nil {
		return err
	}
	only = had
	only[0].Effective, only[1].Effective = 0, 1<<(unix.CAP_BPF-32)
	if err := unix.Capset(&hdr, &only[0]); err != nil {
		return err
	}
	f()
	if err := unix.Capset(&hdr, &had[0]); err != nil {
		return err // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return nil
}
