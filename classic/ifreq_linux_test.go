package classic_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setHardwareAddress sets the address of the interface that ifr names. The
// package unix has no call for it.
func setHardwareAddress(fd int, ifr *unix.Ifreq, addr [24]byte) error {
	var req struct {
		name [unix.IFNAMSIZ]byte
		addr [24]byte
	}
	copy(req.name[:], ifr.Name())
	req.addr = addr
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}
