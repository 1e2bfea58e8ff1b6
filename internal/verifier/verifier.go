// Package verifier decides whether a program may run: path-sensitive abstract
// interpretation with the kernel's rules, verdicts and words
// (kernel/bpf/verifier.c of Linux 6.18 is the specification).
package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Program is what bpf(2) PROG_LOAD takes, with file descriptors already looked
// up: the one door. The verifier never writes to it.
type Program struct {
	Name   string
	Type   catalog.ProgType
	Attach catalog.AttachType
	Flags  uint32 // BPF_F_*
	Insns  []isa.Instruction
	GPL    bool // the license is GPL compatible

	// MapByFD resolves the Imm of PSEUDO_MAP_FD and PSEUDO_MAP_VALUE loads, MapByIdx
	// that of the fd_array forms; nil map: bad descriptor.
	MapByFD  func(fd int32) *catalog.MapDef
	MapByIdx func(idx int32) *catalog.MapDef

	// Bound are maps that the program keeps whether it names them or not (fd_array_cnt).
	Bound []*catalog.MapDef

	// ModuleByIdx resolves the Off of calls of kernel functions that are a module's
	// (fd_array): nil, or nil for idx: no module's types are there.
	ModuleByIdx func(idx int16) *Module

	BTF   *btf.Spec  // the program's own types, nil without
	Funcs []FuncInfo // by slot, one per subprogram; nil without BTF
	Lines []LineInfo // by slot

	// KernelBTF is the Machine's kernel BTF; nil when there is none.
	KernelBTF *btf.Spec
	// HasSymbol reports whether the kernel knows the address of a function or variable
	// of its BTF (kallsyms); nil: of all.
	HasSymbol func(name string) bool
	// AttachTo is the kernel function or hook that tracing and LSM programs attach
	// to. Of struct_ops programs it is the structure, whose member Attach counts, or
	// "structure:member".
	// Of ext programs, and of tracing programs with a Target, it is a function of Target.
	AttachTo string
	// Target is the program that an ext program changes or that a tracing program
	// is attached to; nil: tracing programs attach to the kernel.
	Target *Target
}

// Module is a kernel module as programs see it.
type Module struct {
	Name string
	// BTF are the module's types, on top of KernelBTF.
	BTF *btf.Spec
	// Kfuncs are rows of the functions it lets programs call: what it says of them
	// where it registers them, which BTF does not tell.
	Kfuncs []catalog.Kfunc
}

// FuncInfo is one bpf_func_info record, resolved.
type FuncInfo struct {
	Slot int
	Func *btf.Func
}

// LineInfo is one bpf_line_info record, resolved.
type LineInfo struct {
	Slot   int
	File   string
	Line   string // source text
	LineNo int
	Column int
}

// Options are the load attributes that shape verification and its log.
type Options struct {
	// LogLevel has the kernel's bits: 1 states at branches and refusals, 2 every
	// instruction, 4 statistics only. 0 keeps only the refusal for the error.
	LogLevel uint32
	// Unprivileged applies the rules of a caller without CAP_BPF/CAP_PERFMON.
	Unprivileged bool
	// CapBPF, with Unprivileged, leaves the caller CAP_BPF: loops, functions and
	// larger programs are allowed, but nothing that tells of the kernel's memory.
	CapBPF      bool
	StrictAlign bool
	// InsnLimit is how many instructions are processed before the program counts
	// as too large; 0: as many as the kernel processes, 1,000,000.
	InsnLimit int
	// States asks for Result.States (checked mode's state embedding).
	States bool
	// Visits asks for Result.Visits.
	Visits bool
	// Trace asks for Result.Trace, with at most so many steps kept, and one for
	// each slot reached; 0: none. What takes more steps is verified twice.
	Trace int
	// CPUs is the number of possible processors, which bounds what
	// bpf_get_smp_processor_id returns; 0: not known.
	CPUs int
}

// Result is what the verifier learned about an accepted program, for the passes and engines after it.
type Result struct {
	Log string
	// LogMost is the most bytes the log had at a time, before what safe paths said was forgotten.
	LogMost int
	Stats   Stats
	// Insns has one element per slot of Program.Insns.
	Insns []InsnFacts
	// Subprogs lists the functions by first slot; element 0 is the main program.
	Subprogs []Subprog
	// Void: nobody looks at R0 when the program ends, which may leave nothing there.
	Void   bool
	States *States // nil unless asked for
	// Visits counts for each slot how often it was processed on all paths; nil unless asked for.
	Visits []uint32
	Trace  *Trace // nil unless asked for
}

// Stats are the figures of the log's last line.
type Stats struct {
	InsnProcessed, InsnLimit      int
	MaxStatesPerInsn, TotalStates int
	PeakStates, MarkRead          int
	StackDepth                    []int // per subprogram, bytes
}

// Subprog is one function of a program.
type Subprog struct {
	Start, End int // slots, End exclusive
	Name       string
	StackDepth int // bytes this function's own frame needs
	TailCalls  bool
	Callback   bool // used as a callback (PSEUDO_FUNC)
	Exception  bool
	// Unreliable: its arguments are not what its BTF says, so that it cannot be replaced.
	Unreliable bool
	ChangesPkt bool // may move the packet
	MightSleep bool
}

// Access says what kind of memory a load or store reaches; the rewriter and the
// engines choose code by it.
type Access uint8

// Kinds of access.
const (
	AccessNone Access = iota
	AccessCtx
	AccessStack
	AccessMapValue
	AccessPacket
	AccessMem
	AccessSock // bpf_sock and its kin: converted like a context
	AccessTCPSock
	AccessXDPSock
	AccessBTF // may fault: probed
	AccessArena
	AccessFlowKeys
	AccessTPBuffer
)

// String names the memory, "" for none.
func (a Access) String() string {
	return [...]string{
		AccessNone: "", AccessCtx: "ctx", AccessStack: "stack", AccessMapValue: "map value", AccessPacket: "packet",
		AccessMem: "mem", AccessSock: "sock", AccessTCPSock: "tcp_sock", AccessXDPSock: "xdp_sock", AccessBTF: "kernel",
		AccessArena: "arena", AccessFlowKeys: "flow_keys", AccessTPBuffer: "tp_buffer",
	}[a]
}

// InsnFacts is what holds at one instruction on every path that reaches it.
type InsnFacts struct {
	Seen   bool   // some path reaches it
	Access Access // of a load, store or atomic
	// Map is the map a load of a map or map value names, or, at a helper call,
	// the one map every path passes; nil if none or several.
	Map *catalog.MapDef
	// Poisoned: several maps reach this call (bpf_map_ptr_poisoned).
	Poisoned bool
	// Const is the constant key of a tail call, when HasConst.
	Const    uint32
	HasConst bool
	// AlwaysJumps and NeverJumps hold for a conditional jump whose outcome is known.
	AlwaysJumps, NeverJumps bool
	// Callback is the subprogram index a PSEUDO_FUNC load names.
	Callback int
	// Nospec asks for a barrier against speculation before the instruction,
	// NospecResult for one behind it (insn_aux_data.nospec, nospec_result).
	Nospec, NospecResult bool
	// Mask says how the number that is added to, or subtracted from, a pointer is
	// to be masked, of programs whose loaders may not see the kernel's memory.
	Mask ALUMask
	// TripBound is, for a backward jump, the most times one run can take it, or 0 if not known to be low.
	TripBound uint32
}

// ALUMask is how an ADD or SUB of a pointer and a register is made safe under
// speculation: a number that is beyond Limit, as no real run has it, counts as
// 0 (do_misc_fixups). The zero value: not at all.
type ALUMask struct {
	Kind  MaskKind
	Limit uint32 // how far the pointer can move from where it stands
}

// MaskKind has the kernel's BPF_ALU_* bits of the same meaning.
type MaskKind uint8

// Bits of a MaskKind.
const (
	MaskSrc      = MaskKind(sanSrc)      // the number is the source
	MaskDst      = MaskKind(sanDst)      // the number is the destination, which becomes the pointer
	MaskNegative = MaskKind(sanNegative) // the number is negative: its absolute value is masked
	MaskConst    = MaskKind(sanConst)    // the number is known: its absolute value is Limit
)
