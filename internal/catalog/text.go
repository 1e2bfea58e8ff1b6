package catalog

import (
	"slices"
	"strings"
)

var argNames = [...]string{
	ArgNone: "none", ArgConstMapPtr: "map", ArgMapKey: "key", ArgMapValue: "value", ArgMem: "memory", ArgArena: "arena pointer",
	ArgConstSize: "size", ArgConstSizeOrZero: "size or 0", ArgCtx: "context", ArgAnything: "number", ArgSpinLock: "spin lock",
	ArgSockCommon: "sock_common", ArgSocket: "socket", ArgBTFID: "kernel pointer", ArgRingBufMem: "record",
	ArgConstAllocSizeOrZero: "constant size", ArgBTFIDSockCommon: "socket or kernel pointer", ArgPerCPUBTFID: "per-CPU variable",
	ArgFunc: "function", ArgStack: "stack", ArgConstStr: "constant string", ArgTimer: "timer", ArgKptrXchgDest: "kptr field",
	ArgDynptr: "dynptr",
}

var retNames = [...]string{
	RetInteger: "number", RetVoid: "nothing", RetMapValue: "map value", RetSocket: "socket", RetTCPSock: "tcp_sock",
	RetSockCommon: "sock_common", RetMem: "memory", RetMemOrBTFID: "memory or kernel pointer", RetBTFID: "kernel pointer",
}

var flagNames = [...]struct {
	flag TypeFlag
	name string
}{
	{Rdonly, "read"}, {Uninit, "filled"}, {Write, "written"}, {Release, "released"}, {DynLocal, "local"},
	{DynRingBuf, "of a ring buffer"}, {RingBufMem, "of a ring buffer"}, {Trusted, "trusted"}, {Aligned, "aligned"},
}

// words joins a base kind with what its flags say.
func words(base string, flags TypeFlag) string {
	var said []string
	for _, f := range flagNames {
		// What is filled is written, too.
		if flags&f.flag != 0 && !(f.flag == Write && flags&Uninit != 0) {
			said = append(said, f.name)
		}
	}
	if len(said) != 0 {
		base += " (" + strings.Join(said, ", ") + ")"
	}
	if flags&MaybeNull != 0 {
		base += " or NULL"
	}
	return base
}

// String says in words what the argument must be: "memory (read) or NULL".
func (a ArgType) String() string { return words(argNames[a.Base()], TypeFlag(a)&^0xff) }

// String says in words what is returned: "map value or NULL".
func (r RetType) String() string { return words(retNames[r.Base()], TypeFlag(r)&^0xff) }

var helperFlagNames = [...]string{
	"GPL-compatible programs only", "takes packet memory", "sleepable programs only", "packet pointers must be checked anew",
	"keeps unused registers (bpf_fastcall)", "the result must be released", "may sleep in sleepable programs",
	"depends on what the program is attached to",
}

// Words lists what the flags say of a helper.
func (f HelperFlag) Words() []string {
	return slices.Collect(bitNames(uint32(f), helperFlagNames[:]))
}

var kfuncFlagNames = [...]string{
	"the result must be released", "releases its argument", "may return NULL", "trusted pointers only",
	"sleepable programs only", "destructive", "takes RCU-protected pointers", "makes an iterator", "steps an iterator",
	"ends an iterator", "inside RCU sections only", "keeps unused registers (bpf_fastcall)",
}

// Words lists what the flags say of a kernel function.
func (f KfuncFlag) Words() []string {
	return slices.Collect(bitNames(uint32(f), kfuncFlagNames[:]))
}

var needNames = [...]string{"", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"}

// String names the capability, "" for none.
func (n Need) String() string { return needNames[n] }
