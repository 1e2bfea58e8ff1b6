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

// What programs of control groups attach to, by cilium/ebpf's names.
const (
	AttachCGroupInetIngress      = catalog.AttachCGroupInetIngress
	AttachCGroupInetEgress       = catalog.AttachCGroupInetEgress
	AttachCGroupInetSockCreate   = catalog.AttachCGroupInetSockCreate
	AttachCGroupInetSockRelease  = catalog.AttachCGroupInetSockRelease
	AttachCGroupInet4PostBind    = catalog.AttachCGroupInet4PostBind
	AttachCGroupInet6PostBind    = catalog.AttachCGroupInet6PostBind
	AttachCGroupInet4Bind        = catalog.AttachCGroupInet4Bind
	AttachCGroupInet6Bind        = catalog.AttachCGroupInet6Bind
	AttachCGroupInet4Connect     = catalog.AttachCGroupInet4Connect
	AttachCGroupInet6Connect     = catalog.AttachCGroupInet6Connect
	AttachCGroupInet4GetPeername = catalog.AttachCGroupInet4Getpeername
	AttachCGroupInet6GetPeername = catalog.AttachCGroupInet6Getpeername
	AttachCGroupInet4GetSockname = catalog.AttachCGroupInet4Getsockname
	AttachCGroupInet6GetSockname = catalog.AttachCGroupInet6Getsockname
	AttachCGroupUDP4Sendmsg      = catalog.AttachCGroupUDP4Sendmsg
	AttachCGroupUDP6Sendmsg      = catalog.AttachCGroupUDP6Sendmsg
	AttachCGroupUDP4Recvmsg      = catalog.AttachCGroupUDP4Recvmsg
	AttachCGroupUDP6Recvmsg      = catalog.AttachCGroupUDP6Recvmsg
	AttachCGroupDevice           = catalog.AttachCGroupDevice
	AttachCGroupSysctl           = catalog.AttachCGroupSysctl
	AttachCGroupGetsockopt       = catalog.AttachCGroupGetsockopt
	AttachCGroupSetsockopt       = catalog.AttachCGroupSetsockopt
	AttachCGroupSockOps          = catalog.AttachCGroupSockOps
)
