// Package helpers holds the helper functions, one file per family, bound to
// catalog's rows by id.
//
// A helper runs in Go on behalf of one vCPU. Its arguments are the raw
// registers; the verifier (or the checked interpreter) has already made sure
// that they are what the row demands, so a helper reads and writes the memory
// they name without further ado.
package helpers

import (
	"github.com/skep-bpf/skep/internal/bprintf"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// Func is a helper's implementation: R1–R5 in, R0 out.
type Func func(e *Env, r1, r2, r3, r4, r5 uint64) uint64

// Env is what a helper sees of the run it serves. internal/run keeps one per
// vCPU and resets what belongs to a single run before each.
type Env struct {
	Host Host
	CPU  int // vCPU id = smp_processor_id
	Prog *Prog
	Pkt  *packet.Packet // nil where the program type has none

	// Call runs a subprogram of the running program (a callback) on the same
	// engine and vCPU and returns its R0. fn is the value a PSEUDO_FUNC load gave.
	Call func(fn, r1, r2, r3, r4, r5 uint64) uint64

	// TailCall is set by bpf_tail_call to the program to continue with; the
	// engine takes it when the helper returns 0, if the run has tail calls left.
	TailCall maps.Prog

	// Readable reports whether n bytes at addr are memory of this machine or run,
	// for helpers that take any address and answer EFAULT (bpf_probe_read_kernel).
	Readable func(addr, n uint64) bool

	// Retval is what bpf_get_retval reads and bpf_set_retval writes.
	Retval int32
	// RetvalAt is where in its context a program sees the same, or 0.
	RetvalAt uint64

	// Group is the place at a control group that a program runs for. The zero
	// value is a run by hand, whose storages are its own.
	Group maps.GroupPlace
	local [2]*mem.Block // those storages: shared, and of this CPU

	walkKeys *mem.Block   // what callbacks of walks over maps see besides elements
	walks    int          // how many are under way
	blocks   []*mem.Block // of bit iterators

	// Questions and text under way; here, lest each call allocates them.
	query packet.SocketQuery
	route packet.RouteQuery
	text  bprintf.Formatter
	line  [maxText]byte

	// Choice is the socket being chosen, where the program is to choose one.
	Choice *socket.Choice
	// Msg is the message of sk_msg programs.
	Msg *packet.Message

	// Sysctl is what programs of type cgroup_sysctl look at.
	Sysctl *Sysctl

	// Ops is what happens to a connection, for programs of type sock_ops.
	Ops *SockOps

	// Printed is told of each line that the program has traced, ended by no zero byte; nil: nobody is.
	Printed func(line []byte)

	// Seq takes what bpf_seq_write and bpf_seq_printf write; nil: nobody reads.
	Seq func([]byte)

	// Syscalls are those of the process that has a program of type syscall run; nil: it runs for none.
	Syscalls Syscalls

	// Traced is what a program attached to a function or an event is told of it.
	Traced Traced

	// Redirect is what bpf_redirect and its kin decided, for the hook to carry out.
	Redirect Redirect
}

// Traced is a function or an event that a program is attached to, as it happens.
type Traced struct {
	Args   int    // of the function: what lies at R1, in registers
	Left   bool   // its result lies behind them
	IP     uint64 // where it lies
	Cookie uint64 // given when the program was attached
}

// Prog is what helpers may know of the running program.
type Prog struct {
	Name   string
	Type   catalog.ProgType
	Attach catalog.AttachType
	ID     uint32
}

// RedirectKind says what a [Redirect] points at.
type RedirectKind uint8

// Kinds of redirects.
const (
	RedirectNone RedirectKind = iota
	RedirectIfindex
	RedirectPeer
	RedirectNeigh
	RedirectMap // entry Key of Map: devmap, devmap_hash, cpumap or xskmap
	RedirectSocket
	RedirectMissed // a map's entry that is not there
)

// Redirect is a decision to send the packet elsewhere.
type Redirect struct {
	Kind    RedirectKind
	Ifindex uint32
	Flags   uint64
	Map     maps.Map
	Key     uint32
	NextHop [16]byte // of RedirectNeigh, when Family is not 0
	Family  uint32
	Socket  *socket.Socket // of RedirectSocket
}

// Host is what a Machine offers to the helpers of all its vCPUs. Time, chance
// and outside facts are inputs.
type Host interface {
	// Map returns the map whose header lies at ptr, the value a program's map register holds.
	Map(ptr uint64) maps.Map
	// Monotonic, Boot, Real and TAI read the clocks in nanoseconds; Jiffies in ticks of 1/HZ.
	Monotonic() uint64
	Boot() uint64
	Real() uint64
	TAI() uint64
	Jiffies() uint64
	// Random returns the next pseudo-random number for a vCPU.
	Random(cpu int) uint32
	// CPUs is the number of possible CPUs.
	CPUs() int
	// Trace takes one line that trace_printk or trace_vprintk wrote.
	Trace(cpu int, prog *Prog, line []byte)
	// Socket returns the socket whose Sock lies at addr, or nil for one that is only told of.
	Socket(addr uint64) *socket.Socket
	// KernelSock returns what a tcp_sock at addr belongs to, nil for one that is memory only.
	KernelSock(addr uint64) KernelSock
	// GroupAbove returns the control group that one is below, 0 for a root; not ok for one that is only told of.
	GroupAbove(group uint64) (parent uint64, ok bool)
	// Net answers questions about the network around the packet: routes, neighbours, devices, sockets.
	Net() packet.Net
	// Timers starts and stops bpf_timer callbacks.
	Timers() Timers
	// Process is the process a program runs in.
	Process() *Process
}

// KernelSock is a socket that has a structure of the kernel's in memory.
type KernelSock interface {
	Socket() *socket.Socket
	SetOption(level, name int32, value []byte) errno.Errno
	SendAck(rcvNxt uint32)
}

// Process is who bpf_get_current_* helpers tell of.
type Process struct {
	PID, TGID uint32 // of the thread and of its group
	UID, GID  uint32
	Comm      [16]byte // ends with a zero byte
	CGroupID  uint64
	// CGroupsAbove are the control groups above its own, the nearest first and the root last.
	CGroupsAbove []uint64
	ClassID      uint32 // net_cls
}

// Timers keeps bpf_timer objects alive. timer is the address of the struct
// bpf_timer inside a value of m. Results are R0 values.
type Timers interface {
	Init(timer uint64, m maps.Map, flags uint64) uint64
	// SetCallback binds fn (a PSEUDO_FUNC value) of the program running on e.
	SetCallback(e *Env, timer, fn uint64) uint64
	// Start arms a timer, to run where e runs.
	Start(e *Env, timer, nsecs, flags uint64) uint64
	// Cancel waits for a callback under way on another CPU, but not for e's own.
	Cancel(e *Env, timer uint64) uint64
}
