package exec

import (
	"golang.org/x/sys/cpu"

	"github.com/skep-bpf/skep/internal/mem"
)

//go:noescape
func enter(c *Context)

//go:noescape
func start(c *Context, pc, arg uint64)

//go:noescape
func turns(c *Context)

func stubs() (leave, finish, returned uint64)

func cpuid(leaf uint32) (ecx uint32)

// Finish and Returned are return addresses that lead out of native code, at the
// sites of their names.
var leaveStub, Finish, Returned = stubs()

// trap fills what is no program's: int3.
var trap = [...]byte{0xcc}

// settle has nothing to do: instructions are fetched as they were last stored.
func (*region) settle(span) error { return nil }

// link is what a [Saved] has besides: calls leave the return address on the stack.
type link struct{}

// Host returns the features of the processor at hand.
func Host() Features {
	const (
		basic, extended = 1, 0x80000001
		movbe           = 1 << 22 // of basic
		lzcnt           = 1 << 5  // of extended
	)
	return Features{
		BMI2: cpu.X86.HasBMI2, MOVBE: cpuid(basic)&movbe != 0,
		LZCNT: cpuid(extended)&lzcnt != 0, ClockGettime: clockGettime,
	}
}

// Available says why native code cannot be run here; nil if it can.
func Available() error { return allowed() }

// Init prepares a context for its first use.
// Its native stack ends at top.
func (c *Context) Init(cpu int, top uint64) {
	*c = Context{exit: leaveStub, CPU: uint64(cpu), Top: top}
}

// Call makes the next Enter call the function at addr, on the stack below c.SP.
// It finds whatever is there in R6 to R9, which functions that Go enters do not keep.
//
//	┌────────────────┐ ◄─ SP until now
//	│ return address │
//	├────────────────┤
//	│ saved          │
//	└────────────────┘ ◄─ SP
func (c *Context) Call(addr, ret uint64) {
	mem.Store64(c.SP-8, ret)
	c.SP -= 8 + uint64(SavedSize)
	c.PC = addr
}

// Enter runs native code from c.PC until it leaves. The goroutine cannot be
// preempted meanwhile; whoever loops around Enter passes a call that can be.
func Enter(c *Context) { enter(c) }

// Start runs the function at pc from its beginning, with r1 in R1 and the whole
// stack to itself, until it leaves. Else it is like Enter.
func Start(c *Context, pc, r1 uint64) { start(c, pc, r1) }

// Turns runs c.Main again and again, with c.Row in R1, and stores the lower half of its
// result at c.Verdict; all three, and c.Left, tell how far it has come when it leaves.
// It finishes once c.Left is down to 0, which who serves an exit may bring about.
func Turns(c *Context) { turns(c) }
