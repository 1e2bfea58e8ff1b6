package catalog

// TypeFlag modifies an argument or return type. The values are the kernel's
// own flags by meaning, not by bit (enum bpf_type_flag).
type TypeFlag uint32

// Flags of argument and return types.
const (
	MaybeNull  TypeFlag = 1 << (8 + iota) // may be NULL
	Rdonly                                // memory is only read
	RingBufMem                            // a ring buffer reservation
	UserMem                               // user address space
	PerCPUMem                             // per-CPU memory
	Release                               // the callee takes the reference over
	Untrusted                             // reads may fault
	Uninit                                // memory need not be initialised
	DynLocal                              // dynptr over local memory
	DynRingBuf                            // dynptr over a ring buffer record
	FixedSize                             // size is in the row (Arg.Size)
	AllocMem                              // allocated by bpf_obj_new
	Trusted                               // kernel gave it in a trusted context
	RCU                                   // valid under rcu_read_lock
	NonOwnRef                             // a non-owning reference
	DynSKB                                // dynptr over an skb
	DynXDP                                // dynptr over an xdp buffer
	Aligned                               // memory must be naturally aligned
	Write                                 // memory is written
	DynSKBMeta                            // dynptr over an skb's metadata area
)

// ArgType is what a helper demands of one argument: a base kind below, with
// [TypeFlag] bits (enum bpf_arg_type).
type ArgType uint32

// Base kinds of arguments.
const (
	ArgNone ArgType = iota
	ArgConstMapPtr
	ArgMapKey
	ArgMapValue
	ArgMem
	ArgArena
	ArgConstSize
	ArgConstSizeOrZero
	ArgCtx
	ArgAnything
	ArgSpinLock
	ArgSockCommon
	ArgSocket
	ArgBTFID
	ArgRingBufMem
	ArgConstAllocSizeOrZero
	ArgBTFIDSockCommon
	ArgPerCPUBTFID
	ArgFunc
	ArgStack
	ArgConstStr
	ArgTimer
	ArgKptrXchgDest
	ArgDynptr
)

// Short names for the types that rows are made of.
const (
	argMap         = ArgConstMapPtr
	argKey         = ArgMapKey
	argValue       = ArgMapValue
	argValueOrNull = ArgMapValue | ArgType(MaybeNull)
	argValueOut    = ArgMapValue | ArgType(Uninit|Write)

	argMem          = ArgMem
	argMemIn        = ArgMem | ArgType(Rdonly)
	argMemInOrNull  = ArgMem | ArgType(Rdonly|MaybeNull)
	argMemOut       = ArgMem | ArgType(Uninit|Write)
	argMemOutOrNull = ArgMem | ArgType(Write|MaybeNull)
	argMemInOut     = ArgMem | ArgType(Write)
	argFixedIn      = ArgMem | ArgType(FixedSize)
	argFixedOut     = ArgMem | ArgType(FixedSize|Uninit|Write|Aligned)
	argFixedInOut   = ArgMem | ArgType(FixedSize|Write|Aligned)
	argSize         = ArgConstSize
	argSizeOrZero   = ArgConstSizeOrZero
	argAllocSize    = ArgConstAllocSizeOrZero
	argConstStr     = ArgConstStr

	argCtx         = ArgCtx
	argCtxOrNull   = ArgCtx | ArgType(MaybeNull)
	argAny         = ArgAnything
	argFunc        = ArgFunc
	argStackOrNull = ArgStack | ArgType(MaybeNull)
	argSpinLock    = ArgSpinLock
	argTimer       = ArgTimer
	argPerCPU      = ArgPerCPUBTFID
	argKptrDest    = ArgKptrXchgDest
	argKptrOrNull  = ArgBTFID | ArgType(MaybeNull|Release)

	argSockCommon     = ArgSockCommon
	argSocketOrNull   = ArgSocket | ArgType(MaybeNull)
	argBTFSock        = ArgBTFIDSockCommon
	argBTFSockOrNull  = ArgBTFIDSockCommon | ArgType(MaybeNull)
	argBTFSockRelease = ArgBTFIDSockCommon | ArgType(Release)

	argRecordRelease       = ArgRingBufMem | ArgType(Release)
	argDynptr              = ArgDynptr | ArgType(Rdonly)
	argDynptrNewLocal      = ArgDynptr | ArgType(DynLocal|Uninit|Write)
	argDynptrNewRecord     = ArgDynptr | ArgType(DynRingBuf|Uninit|Write)
	argDynptrRecordRelease = ArgDynptr | ArgType(DynRingBuf|Release)
)

// Base returns the kind without its flags.
func (a ArgType) Base() ArgType { return a & 0xff }

// Has reports whether all bits of f are set.
func (a ArgType) Has(f TypeFlag) bool { return uint32(a)&uint32(f) == uint32(f) }

// With returns a with the flags set.
func (a ArgType) With(f TypeFlag) ArgType { return a | ArgType(f) }

// RetType is what a helper leaves in R0: a base kind with [TypeFlag] bits
// (enum bpf_return_type).
type RetType uint32

// Base kinds of return values.
const (
	RetInteger RetType = iota
	RetVoid
	RetMapValue
	RetSocket
	RetTCPSock
	RetSockCommon
	RetMem
	RetMemOrBTFID
	RetBTFID
)

// Return types with flags, by the kernel's names.
const (
	RetMapValueOrNull   = RetMapValue | RetType(MaybeNull)
	RetSocketOrNull     = RetSocket | RetType(MaybeNull)
	RetTCPSockOrNull    = RetTCPSock | RetType(MaybeNull)
	RetSockCommonOrNull = RetSockCommon | RetType(MaybeNull)
	RetRingBufMemOrNull = RetMem | RetType(MaybeNull|RingBufMem)
	RetMemOrNull        = RetMem | RetType(MaybeNull)
	RetBTFIDOrNull      = RetBTFID | RetType(MaybeNull)
	RetBTFIDTrusted     = RetBTFID | RetType(Trusted)
)

// Base returns the kind without its flags.
func (r RetType) Base() RetType { return r & 0xff }

// Has reports whether all bits of f are set.
func (r RetType) Has(f TypeFlag) bool { return uint32(r)&uint32(f) == uint32(f) }

// With returns r with the flags set.
func (r RetType) With(f TypeFlag) RetType { return r | RetType(f) }

// Arg is one argument of a helper.
type Arg struct {
	Type ArgType
	Size uint32 // of FixedSize memory, in bytes
	BTF  string // struct name, for ArgBTFID kinds
}
