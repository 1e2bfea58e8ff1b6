package exec

import "golang.org/x/sys/cpu"

//go:noescape
func enter(c *Context)

func stubs() (leave, finish, returned uint64)

func cpuid1() (ecx uint32)

// Finish and Returned are return addresses that lead out of native code, at the
// sites of their names.
var leaveStub, Finish, Returned = stubs()

// Features are what code generators may use of the processor.
type Features struct {
	BMI2  bool // SHLX and its kin, RORX, MULX
	MOVBE bool // byte-swapping loads
}

// Host returns the features of the processor at hand.
func Host() Features {
	const movbe = 1 << 22 // CPUID.1:ECX
	return Features{BMI2: cpu.X86.HasBMI2, MOVBE: cpuid1()&movbe != 0}
}

// Available says why native code cannot be run here; nil if it can.
func Available() error { return allowed() }

// Init prepares a context for its first use.
func (c *Context) Init(cpu int) { *c = Context{exit: leaveStub, CPU: uint64(cpu)} }

// Enter runs native code from c.PC until it leaves. The goroutine cannot be
// preempted meanwhile; whoever loops around Enter passes a call that can be.
func Enter(c *Context) { enter(c) }
