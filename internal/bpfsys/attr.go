package bpfsys

import "unsafe"

// attrSize is sizeof(union bpf_attr) of Linux 6.18, in bytes.
const attrSize = 168

// attr is union bpf_attr as the caller wrote it, zeroes after its end.
type attr [attrSize / 8]uint64

func (a *attr) bytes() []byte { return (*[attrSize]byte)(unsafe.Pointer(a))[:] }

// as reads the attribute as the struct of one command. It is sound for the
// structs below: each is at most attrSize bytes of plain numbers, and an attr is aligned to 8.
func as[T any](a *attr) *T { return (*T)(unsafe.Pointer(a)) }

// The structs of union bpf_attr, by the uapi's names, with every padding
// written out so that they are laid out alike on all architectures. A test
// holds names and offsets against the running kernel's BTF.
type (
	mapCreate struct {
		MapType, KeySize, ValueSize, MaxEntries, MapFlags   uint32
		InnerMapFd                                          int32
		NumaNode                                            uint32
		MapName                                             [16]byte
		MapIfindex                                          uint32
		BtfFd                                               int32
		BtfKeyTypeId, BtfValueTypeId, BtfVmlinuxValueTypeId uint32
		MapExtra                                            uint64
		ValueTypeBtfObjFd, MapTokenFd                       int32
		ExclProgHash                                        uint64
		ExclProgHashSize                                    uint32
	}

	mapElem struct {
		MapFd int32
		_     uint32
		Key   uint64
		Value uint64 // or NextKey
		Flags uint64
	}

	mapBatch struct {
		InBatch, OutBatch, Keys, Values uint64
		Count                           uint32
		MapFd                           int32
		ElemFlags, Flags                uint64
	}

	progLoad struct {
		ProgType, InsnCnt               uint32
		Insns, License                  uint64
		LogLevel, LogSize               uint32
		LogBuf                          uint64
		KernVersion, ProgFlags          uint32
		ProgName                        [16]byte
		ProgIfindex, ExpectedAttachType uint32
		ProgBtfFd                       int32
		FuncInfoRecSize                 uint32
		FuncInfo                        uint64
		FuncInfoCnt, LineInfoRecSize    uint32
		LineInfo                        uint64
		LineInfoCnt, AttachBtfId        uint32
		AttachProgFd                    int32 // or AttachBtfObjFd
		CoreReloCnt                     uint32
		FdArray, CoreRelos              uint64
		CoreReloRecSize, LogTrueSize    uint32
		ProgTokenFd                     int32
		FdArrayCnt                      uint32
		Signature                       uint64
		SignatureSize                   uint32
		KeyringId                       int32
	}

	objPin struct {
		Pathname  uint64
		BpfFd     int32
		FileFlags uint32
		PathFd    int32
	}

	progAttach struct {
		TargetFd                 int32 // or TargetIfindex
		AttachBpfFd              int32
		AttachType, AttachFlags  uint32
		ReplaceBpfFd, RelativeFd int32
		ExpectedRevision         uint64
	}

	testRun struct {
		ProgFd                  int32
		Retval                  uint32
		DataSizeIn, DataSizeOut uint32
		DataIn, DataOut         uint64
		Repeat, Duration        uint32
		CtxSizeIn, CtxSizeOut   uint32
		CtxIn, CtxOut           uint64
		Flags, Cpu, BatchSize   uint32
	}

	getID struct {
		StartId, NextId, OpenFlags uint32 // StartId, or the id of what is wanted
		FdByIdTokenFd              int32
	}

	objInfo struct {
		BpfFd   int32
		InfoLen uint32
		Info    uint64
	}

	progQuery struct {
		TargetFd                            int32 // or TargetIfindex
		AttachType, QueryFlags, AttachFlags uint32
		ProgIds                             uint64
		Count                               uint32
		_                                   uint32
		ProgAttachFlags, LinkIds            uint64
		LinkAttachFlags, Revision           uint64
	}

	rawTracepointOpen struct {
		Name   uint64
		ProgFd int32
		_      uint32
		Cookie uint64
	}

	btfLoad struct {
		Btf, BtfLogBuf           uint64
		BtfSize, BtfLogSize      uint32
		BtfLogLevel              uint32
		BtfLogTrueSize, BtfFlags uint32
		BtfTokenFd               int32
	}

	taskFDQuery struct {
		Pid                    uint32
		Fd                     int32
		Flags, BufLen          uint32
		Buf                    uint64
		ProgId, FdType         uint32
		ProbeOffset, ProbeAddr uint64
	}

	linkCreate struct {
		ProgFd            int32 // or MapFd
		TargetFd          int32 // or TargetIfindex
		AttachType, Flags uint32
		Extra             [32]byte // by kind of link
		Cnt, KindFlags    uint32   // uprobe_multi, the largest kind
		Pid               uint32
	}

	linkUpdate struct {
		LinkFd, NewProgFd int32
		Flags             uint32
		OldProgFd         int32
	}

	linkDetach struct{ LinkFd int32 }

	enableStats struct{ Type uint32 }

	iterCreate struct {
		LinkFd int32
		Flags  uint32
	}

	progBindMap struct {
		ProgFd, MapFd int32
		Flags         uint32
	}

	tokenCreate struct {
		Flags   uint32
		BpffsFd int32
	}

	streamRead struct {
		StreamBuf              uint64
		StreamBufLen, StreamId uint32
		ProgFd                 int32
	}
)
