package linux

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
)

// ProgInfo is what the kernel tells of a loaded program (struct bpf_prog_info).
type ProgInfo struct {
	Type          catalog.ProgType
	ID            uint32
	Tag           [8]byte
	Name          string
	JitedLen      uint32 // bytes of native code, 0 when interpreted
	XlatedLen     uint32 // bytes after the kernel's rewriting
	Xlated        []byte // the rewritten instructions; nil where the kernel hides them
	GPL           bool
	RunTime       time.Duration // only counted with statistics on (BPF_ENABLE_STATS)
	RunCount      uint64
	VerifiedInsns uint32
}

// progInfo is struct bpf_prog_info up to verified_insns.
type progInfo struct {
	progType, id               uint32
	tag                        [8]byte
	jitedLen, xlatedLen        uint32
	jited, xlated              unsafe.Pointer
	loadTime                   uint64
	createdByUID, nrMapIDs     uint32
	mapIDs                     unsafe.Pointer
	name                       [16]byte
	ifindex, gpl               uint32
	netnsDev, netnsIno         uint64
	nrJitedKsyms, nrJitedLens  uint32
	jitedKsyms, jitedLens      unsafe.Pointer
	btfID, funcInfoRecSize     uint32
	funcInfo                   unsafe.Pointer
	nrFuncInfo, nrLineInfo     uint32
	lineInfo, jitedLineInfo    unsafe.Pointer
	nrJitedLine, lineRecSize   uint32
	jitedLineRec, nrProgTags   uint32
	progTags                   unsafe.Pointer
	runTime, runCnt, recMisses uint64
	verifiedInsns              uint32
	attachBTFObjID             uint32
	attachBTFID                uint32
	_                          uint32
}

type infoAttr struct {
	fd, size uint32
	info     unsafe.Pointer
}

func getInfo(fd int, info unsafe.Pointer, size uintptr) error {
	attr := infoAttr{fd: uint32(fd), size: uint32(size), info: info}
	_, err := bpf(cmdObjGetInfo, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// Info asks the kernel about the program.
func (p *LoadedProg) Info() (*ProgInfo, error) {
	var in progInfo
	if err := getInfo(p.fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	xlated := make([]byte, in.xlatedLen)
	if in.xlatedLen != 0 {
		in = progInfo{xlated: unsafe.Pointer(&xlated[0]), xlatedLen: in.xlatedLen}
		if err := getInfo(p.fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
			return nil, err
		}
	}
	runtime.KeepAlive(p)
	if in.xlated == nil {
		xlated = nil // hidden by kptr_restrict or bpf_jit_harden
	}
	return &ProgInfo{
		Type: catalog.ProgType(in.progType), ID: in.id, Tag: in.tag, Name: cString(in.name[:]),
		JitedLen: in.jitedLen, XlatedLen: in.xlatedLen, Xlated: xlated, GPL: in.gpl&1 != 0,
		RunTime: time.Duration(in.runTime), RunCount: in.runCnt, VerifiedInsns: in.verifiedInsns,
	}, nil
}

// MapInfo is what the kernel tells of a map (struct bpf_map_info).
type MapInfo struct {
	Type                           catalog.MapType
	ID                             uint32
	KeySize, ValueSize, MaxEntries uint32
	Flags                          uint32
	Name                           string
	Extra                          uint64
}

// mapInfo is struct bpf_map_info.
type mapInfo struct {
	mapType, id, keySize, valueSize, maxEntries, flags uint32
	name                                               [16]byte
	ifindex, vmlinuxValueTypeID                        uint32
	netnsDev, netnsIno                                 uint64
	btfID, btfKeyTypeID, btfValueTypeID, vmlinuxID     uint32
	extra                                              uint64
}

// Info asks the kernel about the map.
func (m *Map) Info() (*MapInfo, error) {
	var in mapInfo
	if err := getInfo(m.fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	runtime.KeepAlive(m)
	return &MapInfo{
		Type: catalog.MapType(in.mapType), ID: in.id, KeySize: in.keySize, ValueSize: in.valueSize,
		MaxEntries: in.maxEntries, Flags: in.flags, Name: cString(in.name[:]), Extra: in.extra,
	}, nil
}
