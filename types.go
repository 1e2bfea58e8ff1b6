package skep

import "github.com/skep-bpf/skep/internal/catalog"

// Kinds of programs, by cilium/ebpf's names.
const (
	UnspecifiedProgram    = catalog.ProgUnspec
	SocketFilter          = catalog.ProgSocketFilter
	Kprobe                = catalog.ProgKprobe
	SchedCLS              = catalog.ProgSchedCls
	SchedACT              = catalog.ProgSchedAct
	TracePoint            = catalog.ProgTracepoint
	XDP                   = catalog.ProgXDP
	PerfEvent             = catalog.ProgPerfEvent
	CGroupSKB             = catalog.ProgCGroupSKB
	CGroupSock            = catalog.ProgCGroupSock
	LWTIn                 = catalog.ProgLWTIn
	LWTOut                = catalog.ProgLWTOut
	LWTXmit               = catalog.ProgLWTXmit
	SockOps               = catalog.ProgSockOps
	SkSKB                 = catalog.ProgSkSKB
	CGroupDevice          = catalog.ProgCGroupDevice
	SkMsg                 = catalog.ProgSkMsg
	RawTracepoint         = catalog.ProgRawTracepoint
	CGroupSockAddr        = catalog.ProgCGroupSockAddr
	LWTSeg6Local          = catalog.ProgLWTSeg6Local
	LircMode2             = catalog.ProgLircMode2
	SkReuseport           = catalog.ProgSkReuseport
	FlowDissector         = catalog.ProgFlowDissector
	CGroupSysctl          = catalog.ProgCGroupSysctl
	RawTracepointWritable = catalog.ProgRawTracepointWritable
	CGroupSockopt         = catalog.ProgCGroupSockopt
	Tracing               = catalog.ProgTracing
	StructOps             = catalog.ProgStructOps
	Extension             = catalog.ProgExt
	LSM                   = catalog.ProgLSM
	SkLookup              = catalog.ProgSkLookup
	Syscall               = catalog.ProgSyscall
	Netfilter             = catalog.ProgNetfilter
)

// Kinds of maps, by cilium/ebpf's names.
const (
	UnspecifiedMap      = catalog.MapUnspec
	Hash                = catalog.MapHash
	Array               = catalog.MapArray
	ProgramArray        = catalog.MapProgArray
	PerfEventArray      = catalog.MapPerfEventArray
	PerCPUHash          = catalog.MapPerCPUHash
	PerCPUArray         = catalog.MapPerCPUArray
	StackTrace          = catalog.MapStackTrace
	CGroupArray         = catalog.MapCGroupArray
	LRUHash             = catalog.MapLRUHash
	LRUCPUHash          = catalog.MapLRUPerCPUHash
	LPMTrie             = catalog.MapLPMTrie
	ArrayOfMaps         = catalog.MapArrayOfMaps
	HashOfMaps          = catalog.MapHashOfMaps
	DevMap              = catalog.MapDevMap
	SockMap             = catalog.MapSockMap
	CPUMap              = catalog.MapCPUMap
	XSKMap              = catalog.MapXSKMap
	SockHash            = catalog.MapSockHash
	CGroupStorage       = catalog.MapCGroupStorage
	ReusePortSockArray  = catalog.MapReuseportSockarray
	PerCPUCGroupStorage = catalog.MapPerCPUCGroupStorage
	Queue               = catalog.MapQueue
	Stack               = catalog.MapStack
	SkStorage           = catalog.MapSkStorage
	DevMapHash          = catalog.MapDevMapHash
	StructOpsMap        = catalog.MapStructOps
	RingBuf             = catalog.MapRingBuf
	InodeStorage        = catalog.MapInodeStorage
	TaskStorage         = catalog.MapTaskStorage
	BloomFilter         = catalog.MapBloomFilter
	UserRingbuf         = catalog.MapUserRingBuf
	CgroupStorage       = catalog.MapCGrpStorage
	Arena               = catalog.MapArena
)

// What programs over sockets attach to, by cilium/ebpf's names.
const (
	AttachSkSKBStreamParser          = catalog.AttachSkSKBStreamParser
	AttachSkSKBStreamVerdict         = catalog.AttachSkSKBStreamVerdict
	AttachSkSKBVerdict               = catalog.AttachSkSKBVerdict
	AttachSkMsgVerdict               = catalog.AttachSkMsgVerdict
	AttachSkLookup                   = catalog.AttachSkLookup
	AttachSkReuseportSelect          = catalog.AttachSkReuseportSelect
	AttachSkReuseportSelectOrMigrate = catalog.AttachSkReuseportSelectOrMigrate
)
