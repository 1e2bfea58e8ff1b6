package helpers

import "github.com/skep-bpf/skep/internal/catalog"

// Why a helper has no implementation.
const (
	whyPerf    = "reads hardware counters or perf records of a traced kernel"
	whyStack   = "walks the stack of a traced task"
	whyTask    = "hands out a task_struct, and there is no kernel that has one"
	whyTraced  = "changes what a traced kernel function does, and none is traced here"
	whySockOpt = "acts on a live socket"
	whyStorage = "takes a task, an inode or a control group, and there is no kernel that has one"
	whyLWT     = "encapsulates in the kernel's routing code"
	whyInfra   = "serves infrared decoders"
	whyCookie  = "needs the secret of a live TCP stack's SYN cookies"
	whySignal  = "would send a signal to the process that hosts the machine"
	whyPidNS   = "needs pid namespaces"
	whySeq     = "shows kernel structures by their types"
	whyCast    = "casts to a kernel socket structure, and there is no kernel that has one"
	whyFS      = "needs the kernel's file system structures"
	whyBTFText = "prints an object by the kernel's BTF"
)

// Unimplemented lists the helpers of the kernel that skep has not, with the
// reason. A program that calls one is refused when it is loaded.
var Unimplemented = map[catalog.HelperID]string{
	catalog.FnPerfEventRead:        whyPerf,
	catalog.FnPerfEventReadValue:   whyPerf,
	catalog.FnPerfProgReadValue:    whyPerf,
	catalog.FnReadBranchRecords:    whyPerf,
	catalog.FnGetBranchSnapshot:    whyPerf,
	catalog.FnGetStackid:           whyStack,
	catalog.FnGetStack:             whyStack,
	catalog.FnGetTaskStack:         whyStack,
	catalog.FnGetCurrentTask:       whyTask,
	catalog.FnGetCurrentTaskBTF:    whyTask,
	catalog.FnTaskPtRegs:           whyTask,
	catalog.FnFindVma:              whyTask,
	catalog.FnCopyFromUserTask:     whyTask,
	catalog.FnProbeWriteUser:       whyTraced,
	catalog.FnOverrideReturn:       whyTraced,
	catalog.FnBprmOptsSet:          whyTraced,
	catalog.FnBind:                 whySockOpt,
	catalog.FnInodeStorageGet:      whyStorage,
	catalog.FnInodeStorageDelete:   whyStorage,
	catalog.FnTaskStorageGet:       whyStorage,
	catalog.FnTaskStorageDelete:    whyStorage,
	catalog.FnCGrpStorageGet:       whyStorage,
	catalog.FnCGrpStorageDelete:    whyStorage,
	catalog.FnLWTPushEncap:         whyLWT,
	catalog.FnLWTSeg6StoreBytes:    whyLWT,
	catalog.FnLWTSeg6AdjustSrh:     whyLWT,
	catalog.FnLWTSeg6Action:        whyLWT,
	catalog.FnRcRepeat:             whyInfra,
	catalog.FnRcKeydown:            whyInfra,
	catalog.FnRcPointerRel:         whyInfra,
	catalog.FnTcpCheckSyncookie:    whyCookie,
	catalog.FnTcpGenSyncookie:      whyCookie,
	catalog.FnSendSignal:           whySignal,
	catalog.FnSendSignalThread:     whySignal,
	catalog.FnGetNsCurrentPidTgid:  whyPidNS,
	catalog.FnSeqPrintfBTF:         whySeq,
	catalog.FnSkcToTcp6Sock:        whyCast,
	catalog.FnSkcToTcpSock:         whyCast,
	catalog.FnSkcToTcpTimewaitSock: whyCast,
	catalog.FnSkcToTcpRequestSock:  whyCast,
	catalog.FnSkcToUDP6Sock:        whyCast,
	catalog.FnSkcToUnixSock:        whyCast,
	catalog.FnSkcToMptcpSock:       whyCast,
	catalog.FnDPath:                whyFS,
	catalog.FnImaInodeHash:         whyFS,
	catalog.FnImaFileHash:          whyFS,
	catalog.FnSockFromFile:         whyFS,
	catalog.FnSnprintfBTF:          whyBTFText,
}
