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
	LoadTime      time.Duration // since boot
	UID           uint32        // of who loaded it
	MapIDs        []uint32
	Device        Device
	BTFID         uint32
	RunTime       time.Duration // only counted with statistics on (BPF_ENABLE_STATS)
	RunCount      uint64
	Misses        uint64 // runs left out because the program was running already
	VerifiedInsns uint32
	AttachBTF     uint32 // the BTF with the function it attaches to; 0: none
	AttachBTFType uint32 // that function's type
	FuncInfo      []byte // records of struct bpf_func_info, of FuncInfoSize bytes
	FuncInfoSize  uint32
	LineInfo      []byte // records of struct bpf_line_info, of LineInfoSize bytes
	LineInfoSize  uint32
	Symbols       []uint64 // addresses of the functions' native code
}

// Device is the network device an object was made for; IfIndex 0: none.
type Device struct {
	IfIndex            uint32
	NetNSDev, NetNSIno uint64
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
	info, err := progInfoOf(p.fd)
	runtime.KeepAlive(p)
	return info, err
}

// progInfoOf asks how much there is, and then for all of it but native code.
func progInfoOf(fd int) (*ProgInfo, error) {
	var in progInfo
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	info := &ProgInfo{
		Type: catalog.ProgType(in.progType), ID: in.id, Tag: in.tag, Name: cString(in.name[:]),
		JitedLen: in.jitedLen, XlatedLen: in.xlatedLen, GPL: in.gpl&1 != 0,
		LoadTime: time.Duration(in.loadTime), UID: in.createdByUID, BTFID: in.btfID,
		Device:  Device{in.ifindex, in.netnsDev, in.netnsIno},
		RunTime: time.Duration(in.runTime), RunCount: in.runCnt, Misses: in.recMisses, VerifiedInsns: in.verifiedInsns,
		FuncInfoSize: in.funcInfoRecSize, LineInfoSize: in.lineRecSize,
		AttachBTF: in.attachBTFObjID, AttachBTFType: in.attachBTFID,
	}
	xlated := make([]byte, in.xlatedLen)
	info.MapIDs = make([]uint32, in.nrMapIDs)
	info.FuncInfo = make([]byte, in.nrFuncInfo*in.funcInfoRecSize)
	info.LineInfo = make([]byte, in.nrLineInfo*in.lineRecSize)
	info.Symbols = make([]uint64, in.nrJitedKsyms)
	in = progInfo{
		xlated: unsafe.Pointer(unsafe.SliceData(xlated)), xlatedLen: in.xlatedLen,
		mapIDs: unsafe.Pointer(unsafe.SliceData(info.MapIDs)), nrMapIDs: in.nrMapIDs,
		funcInfo: unsafe.Pointer(unsafe.SliceData(info.FuncInfo)), nrFuncInfo: in.nrFuncInfo, funcInfoRecSize: in.funcInfoRecSize,
		lineInfo: unsafe.Pointer(unsafe.SliceData(info.LineInfo)), nrLineInfo: in.nrLineInfo, lineRecSize: in.lineRecSize,
		jitedKsyms: unsafe.Pointer(unsafe.SliceData(info.Symbols)), nrJitedKsyms: in.nrJitedKsyms,
	}
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	if in.xlated != nil && len(xlated) > 0 { // else hidden by kptr_restrict or bpf_jit_harden
		info.Xlated = xlated
	}
	return info, nil
}

// Native is a program's machine code.
type Native struct {
	Code    []byte   // of all functions, one behind the other
	Lens    []uint32 // of each function, in bytes
	Symbols []uint64 // the address of each
	// Lines are the addresses of the code of the records of ProgInfo.LineInfo.
	Lines []uint64
}

// nativeOf asks for the native code; nil where there is none, or the kernel hides it.
func nativeOf(fd int) (*Native, error) {
	var in progInfo
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	n := &Native{
		Code: make([]byte, in.jitedLen), Lens: make([]uint32, in.nrJitedLens), Symbols: make([]uint64, in.nrJitedKsyms),
	}
	size := in.jitedLineRec
	if size == 8 {
		n.Lines = make([]uint64, in.nrJitedLine)
	}
	in = progInfo{
		jited: unsafe.Pointer(unsafe.SliceData(n.Code)), jitedLen: in.jitedLen,
		jitedLens: unsafe.Pointer(unsafe.SliceData(n.Lens)), nrJitedLens: in.nrJitedLens,
		jitedKsyms: unsafe.Pointer(unsafe.SliceData(n.Symbols)), nrJitedKsyms: in.nrJitedKsyms,
		jitedLineInfo: unsafe.Pointer(unsafe.SliceData(n.Lines)), nrJitedLine: uint32(len(n.Lines)), jitedLineRec: size,
	}
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	if in.jited == nil || len(n.Code) == 0 {
		return nil, nil
	}
	return n, nil
}

// MapInfo is what the kernel tells of a map (struct bpf_map_info).
type MapInfo struct {
	Type                           catalog.MapType
	ID                             uint32
	KeySize, ValueSize, MaxEntries uint32
	Flags                          uint32
	Name                           string
	Extra                          uint64
	Device                         Device
	BTFID, KeyID, ValueID          uint32 // types, 0: none
	VmlinuxValueID                 uint32 // of a struct_ops map's value in the kernel's BTF
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
	info, err := mapInfoOf(m.fd)
	runtime.KeepAlive(m)
	return info, err
}

func mapInfoOf(fd int) (*MapInfo, error) {
	var in mapInfo
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	return &MapInfo{
		Type: catalog.MapType(in.mapType), ID: in.id, KeySize: in.keySize, ValueSize: in.valueSize,
		MaxEntries: in.maxEntries, Flags: in.flags, Name: cString(in.name[:]), Extra: in.extra,
		Device: Device{in.ifindex, in.netnsDev, in.netnsIno},
		BTFID:  in.btfID, KeyID: in.btfKeyTypeID, ValueID: in.btfValueTypeID, VmlinuxValueID: in.vmlinuxValueTypeID,
	}, nil
}

// RawMapInfo returns what the kernel tells of a map as it lies in n bytes of struct bpf_map_info.
func (o *Object) RawMapInfo(n int) ([]byte, error) {
	b := make([]byte, max(n, int(unsafe.Sizeof(mapInfo{}))))
	err := getInfo(o.fd, unsafe.Pointer(&b[0]), uintptr(len(b)))
	return b[:n], err
}

// PerCPU reports whether the map has a value for each possible CPU.
func (m *MapInfo) PerCPU() bool { return (&catalog.MapDef{Type: m.Type}).PerCPU() }

// ValueLen is how many bytes a lookup transfers on a machine of so many possible CPUs.
func (m *MapInfo) ValueLen(cpus int) int {
	if m.PerCPU() {
		return cpus * int(m.ValueSize+7) &^ 7
	}
	return int(m.ValueSize)
}

// BTFInfo is what the kernel tells of a set of types (struct bpf_btf_info).
type BTFInfo struct {
	ID, Size uint32
	Name     string
	Kernel   bool
}

type btfInfo struct {
	btf      unsafe.Pointer
	size, id uint32
	name     unsafe.Pointer
	nameLen  uint32
	kernel   uint32
}

// btfInfoOf asks about types, and for themselves where whole is set.
func btfInfoOf(fd int, whole bool) (*BTFInfo, []byte, error) {
	var in btfInfo
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, nil, err
	}
	name := make([]byte, in.nameLen+1)
	var blob []byte
	if whole {
		blob = make([]byte, in.size)
	}
	in = btfInfo{
		name: unsafe.Pointer(&name[0]), nameLen: uint32(len(name)),
		btf: unsafe.Pointer(unsafe.SliceData(blob)), size: uint32(len(blob)),
	}
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, nil, err
	}
	return &BTFInfo{ID: in.id, Size: in.size, Name: cString(name), Kernel: in.kernel != 0}, blob, nil
}

// LinkInfo is what the kernel tells of a link (struct bpf_link_info). Rest is
// what depends on the type, as it lies there.
type LinkInfo struct {
	Type, ID, ProgID uint32
	Name             string // of a raw tracepoint or what an iterator walks
	Rest             [64]byte
}

// linkInfo is struct bpf_link_info; namedLinkInfo the same where the rest begins
// with room for a name.
type (
	linkInfo struct {
		typ, id, prog uint32
		_             uint32
		rest          [64]byte
	}
	namedLinkInfo struct {
		typ, id, prog uint32
		_             uint32
		name          unsafe.Pointer
		nameLen       uint32
		_             [52]byte
	}
)

// Types of links whose info has room for a name.
const (
	linkRawTracepoint = 1
	linkIter          = 4
)

func linkInfoOf(fd int) (*LinkInfo, error) {
	var in linkInfo
	if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
		return nil, err
	}
	out := &LinkInfo{Type: in.typ, ID: in.id, ProgID: in.prog, Rest: in.rest}
	if in.typ == linkRawTracepoint || in.typ == linkIter {
		name := make([]byte, 256)
		in := namedLinkInfo{name: unsafe.Pointer(&name[0]), nameLen: uint32(len(name))}
		if err := getInfo(fd, unsafe.Pointer(&in), unsafe.Sizeof(in)); err != nil {
			return nil, err
		}
		out.Name = cString(name)
	}
	return out, nil
}
