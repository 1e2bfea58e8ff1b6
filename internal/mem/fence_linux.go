package mem

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Commands of membarrier(2).
const (
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

// canFence reports whether fenceAll works, after announcing to the system that it will be used.
var canFence = sync.OnceValue(func() bool {
	return membarrier(membarrierRegisterPrivateExpedited) && membarrier(membarrierPrivateExpedited)
})

// fenceAll makes every thread of the process pass a full memory barrier before
// it returns: what others stored before is seen from here on, and what they
// load from then on is no older than what was stored here before.
func fenceAll() {
	if !membarrier(membarrierPrivateExpedited) {
		panic("BUG: membarrier(2) fails after it worked")
	}
}

func membarrier(cmd uintptr) bool {
	_, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, cmd, 0, 0)
	return e == 0
}
