package catalog

// ProgSet is a set of program types, bit n for type n.
type ProgSet uint64

// Has reports whether t is in the set.
func (s ProgSet) Has(t ProgType) bool { return t < 64 && s>>t&1 != 0 }

// AttachSet is a set of attach types, bit n for type n.
type AttachSet uint64

// Has reports whether t is in the set.
func (s AttachSet) Has(t AttachType) bool { return t < 64 && s>>t&1 != 0 }

// MapSet is a set of map types, bit n for type n.
type MapSet uint64

// Has reports whether t is in the set.
func (s MapSet) Has(t MapType) bool { return t < 64 && s>>t&1 != 0 }

// Sets of one map type each.
const (
	onHash MapSet = 1 << (iota + MapHash)
	onArray
	onProgArray
	onPerfEventArray
	onPerCPUHash
	onPerCPUArray
	onStackTrace
	onCGroupArray
	onLRUHash
	onLRUPerCPUHash
	onLPMTrie
	onArrayOfMaps
	onHashOfMaps
	onDevMap
	onSockMap
	onCPUMap
	onXSKMap
	onSockHash
	onCGroupStorage
	onReuseportSockarray
	onPerCPUCGroupStorage
	onQueue
	onStack
	onSkStorage
	onDevMapHash
	onStructOps
	onRingBuf
	onInodeStorage
	onTaskStorage
	onBloomFilter
	onUserRingBuf
	onCGrpStorage
	onArena
)

// Sets of one program type each.
const (
	inSocketFilter ProgSet = 1 << (iota + ProgSocketFilter)
	inKprobe
	inSchedCls
	inSchedAct
	inTracepoint
	inXDP
	inPerfEvent
	inCGroupSKB
	inCGroupSock
	inLWTIn
	inLWTOut
	inLWTXmit
	inSockOps
	inSkSKB
	inCGroupDevice
	inSkMsg
	inRawTracepoint
	inCGroupSockAddr
	inLWTSeg6Local
	inLircMode2
	inSkReuseport
	inFlowDissector
	inCGroupSysctl
	inRawTracepointWritable
	inCGroupSockopt
	inTracing
	inStructOps
	inExt
	inLSM
	inSkLookup
	inSyscall
	inNetfilter
)

// Sets that rows share.
const (
	inTC  = inSchedCls | inSchedAct
	inLWT = inLWTIn | inLWTOut | inLWTXmit | inLWTSeg6Local
	// inBase holds the types whose helper sets end in bpf_base_func_proto: all
	// but lirc_mode2, which names its few, and ext, which has its target's.
	inBase = 1<<(ProgNetfilter+1) - 1 - 1 - inLircMode2 - inExt
	// inSockBase holds those that end in bpf_sk_base_func_proto.
	inSockBase = inSocketFilter | inTC | inXDP | inCGroupSKB | inLWT | inSockOps | inSkSKB | inSkMsg |
		inCGroupSockAddr | inFlowDissector | inSkLookup
	// inTyped holds those of tracing_prog_func_proto, inTrace those of bpf_tracing_func_proto.
	inTyped = inTracing | inLSM | inSyscall
	inTrace = inKprobe | inTracepoint | inPerfEvent | inRawTracepoint | inRawTracepointWritable | inTyped
)

// Sets of attach types that rows share.
const (
	// attachTrampoline holds the types that run on a trampoline (bpf_prog_has_trampoline).
	attachTrampoline AttachSet = 1<<AttachTraceFEntry | 1<<AttachTraceFExit | 1<<AttachModifyReturn | 1<<AttachLSMMAC
	attachMulti      AttachSet = 1<<AttachTraceKprobeMulti | 1<<AttachTraceKprobeSession |
		1<<AttachTraceUprobeMulti | 1<<AttachTraceUprobeSession
	// attachRetval holds every hook but those whose result is no system call's (cgroup_common_func_proto).
	attachRetval = 1<<(AttachTraceUprobeSession+1) - 1 - (1<<AttachCGroupInetIngress | 1<<AttachCGroupInetEgress |
		1<<AttachCGroupSockOps |
		1<<AttachCGroupUDP4Recvmsg | 1<<AttachCGroupUDP6Recvmsg | 1<<AttachCGroupUnixRecvmsg |
		1<<AttachCGroupInet4Getpeername | 1<<AttachCGroupInet6Getpeername | 1<<AttachCGroupUnixGetpeername |
		1<<AttachCGroupInet4Getsockname | 1<<AttachCGroupInet6Getsockname | 1<<AttachCGroupUnixGetsockname)
)
