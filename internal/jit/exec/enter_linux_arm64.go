package exec

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/mem"
)

//go:noescape
func enter(c *Context)

//go:noescape
func start(c *Context, pc, arg uint64)

//go:noescape
func turns(c *Context)

func stubs() (leave, finish, returned uint64)

// publish makes what was stored at addresses lo to hi what instructions are
// fetched from, on every processor.
func publish(lo, hi uintptr)

// discard throws away what this processor has fetched ahead.
func discard()

// Finish and Returned are return addresses that lead out of native code, at the
// sites of their names.
var leaveStub, Finish, Returned = stubs()

// trap fills what is no program's: brk #0.
var trap = [...]byte{0x00, 0x00, 0x20, 0xd4}

// link is what a [Saved] has besides: the return address is in a register.
type link struct{ LR uint64 }

// Host returns the features of the processor at hand.
func Host() Features {
	return Features{LSE: cpu.ARM64.HasATOMICS, Page4: unix.Getpagesize() == 4<<10, Sync: canSync()}
}

// Available says why native code cannot be run here; nil if it can.
func Available() error { return allowed() }

// settle makes every processor run what was written at at: the data caches are
// written back, the instruction caches forget, and every thread of the process
// throws away what it has fetched ahead (membarrier's SYNC_CORE; where the kernel
// has none, each Enter does).
func (r *region) settle(at span) error {
	if r.fd > 0 { // else it was written where it lies
		if err := r.remap(at); err != nil {
			return err
		}
	}
	first := uintptr(unsafe.Pointer(&r.code[at.off]))
	publish(first, first+uintptr(at.size))
	if canSync() {
		return syncCores()
	}
	return nil
}

// remap maps the pages of at anew: emulators translate code ahead, and QEMU before
// 8.1 does not notice a store through another mapping nor heed IC IVAU.
func (r *region) remap(at span) error {
	page := unix.Getpagesize()
	lo := at.off &^ (page - 1)
	hi := (at.off + at.size + page - 1) &^ (page - 1)
	if r.fd >= 0 { // else it was not executable before
		// Sound: it replaces pages of r.code by the same ones; who runs there waits in a page fault.
		_, err := unix.MmapPtr(r.fd, int64(lo), unsafe.Pointer(&r.code[lo]), uintptr(hi-lo),
			unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			return fmt.Errorf("mapping code anew: %w", err)
		}
	}
	return nil
}

// Commands of membarrier(2): MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE and its registration.
const (
	syncCore         = 1 << 5
	registerSyncCore = 1 << 6
)

// canSync reports whether the kernel can have all threads of the process throw
// away what they have fetched ahead (Linux 4.16). Those of an emulator may not.
var canSync = sync.OnceValue(func() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, registerSyncCore, 0, 0)
	return errno == 0
})

func syncCores() error {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, syncCore, 0, 0)
	if errno != 0 {
		return fmt.Errorf("membarrier: %w", errno)
	}
	return nil
}

// Init prepares a context for its first use.
// Its native stack ends at top, a multiple of 16.
func (c *Context) Init(cpu int, top uint64) {
	*c = Context{exit: leaveStub, CPU: uint64(cpu), Top: top}
}

// Call makes the next Enter call the function at addr, on the stack below c.SP.
// It finds whatever is there in R6 to R9, which functions that Go enters do not keep.
//
//	┌────────────────┐ ◄─ SP until now
//	│ saved          │ with the return address
//	└────────────────┘ ◄─ SP
func (c *Context) Call(addr, ret uint64) {
	c.SP -= uint64(SavedSize)
	mem.Store64(c.SP, ret) // Saved.LR
	c.PC = addr
}

// Enter runs native code from c.PC until it leaves. The goroutine cannot be
// preempted meanwhile; whoever loops around Enter passes a call that can be.
func Enter(c *Context) {
	if !canSync() {
		discard()
	}
	enter(c)
}

// Start runs the function at pc from its beginning, with r1 in R1 and the whole
// stack to itself, until it leaves. Else it is like Enter.
func Start(c *Context, pc, r1 uint64) {
	if !canSync() {
		discard()
	}
	start(c, pc, r1)
}

// Turns runs c.Main again and again, with c.Row in R1, and stores the lower half of its
// result at c.Verdict; all three, and c.Left, tell how far it has come when it leaves.
// It finishes once c.Left is down to 0, which who serves an exit may bring about.
func Turns(c *Context) {
	if !canSync() {
		discard()
	}
	turns(c)
}
