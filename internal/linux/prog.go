package linux

import (
	"encoding/binary"
	"errors"
	"runtime"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Prog is what PROG_LOAD takes.
type Prog struct {
	Name    string // at most 15 bytes reach the kernel
	Type    catalog.ProgType
	Attach  catalog.AttachType // expected_attach_type
	Flags   uint32             // BPF_F_*
	Insns   []isa.Instruction  // loaded byte for byte
	License string
	IfIndex uint32 // of the device to load for, 0: none

	// Maps stand behind PSEUDO_MAP_IDX and PSEUDO_MAP_IDX_VALUE (fd_array);
	// a nil element is descriptor 0. BTFs follows them in the array, for kfuncs of modules.
	Maps []*Map
	BTFs []*BTF

	BTF      *BTF   // the program's own types
	FuncInfo []byte // raw bpf_func_info records of 8 bytes
	LineInfo []byte // raw bpf_line_info records of 16 bytes

	AttachBTFID uint32 // function or type attached to
	AttachProg  *LoadedProg
	AttachBTF   *BTF // module of AttachBTFID; nil: vmlinux

	// LogLevel has the bits of [verifier.Options.LogLevel]. At 0 a refused
	// program is loaded once more at level 1, so that the error has a log, of which
	// the last 4 MiB are kept.
	LogLevel uint32
}

// LoadedProg is a program in the kernel.
type LoadedProg struct {
	fd int
	// Log is the verifier's log, empty at level 0.
	Log string
}

// progLoadAttr is the part of union bpf_attr that PROG_LOAD reads.
type progLoadAttr struct {
	progType        uint32
	insnCnt         uint32
	insns           unsafe.Pointer
	license         unsafe.Pointer
	logLevel        uint32
	logSize         uint32
	logBuf          unsafe.Pointer
	kernVersion     uint32
	progFlags       uint32
	progName        [16]byte
	progIfindex     uint32
	expectedAttach  uint32
	progBTFFD       uint32
	funcInfoRecSize uint32
	funcInfo        unsafe.Pointer
	funcInfoCnt     uint32
	lineInfoRecSize uint32
	lineInfo        unsafe.Pointer
	lineInfoCnt     uint32
	attachBTFID     uint32
	attachFD        uint32 // of a program or a module's BTF
	coreReloCnt     uint32
	fdArray         unsafe.Pointer
	coreRelos       unsafe.Pointer
	coreReloRecSize uint32
	logTrueSize     uint32
	progTokenFD     int32
	fdArrayCnt      uint32
}

// Sizes of the records in func_info and line_info.
const (
	funcInfoSize = 8
	lineInfoSize = 16
)

// Sizes of log buffers: to begin with, at most, and the only one of a load that
// is there for its log alone.
const (
	firstLog = 1 << 16
	maxLog   = 1 << 30
	againLog = 1 << 22
)

// Load loads a program. A refusal is an [*Error] with the verifier's log.
func Load(p *Prog) (*LoadedProg, error) {
	lp, err := load(p, p.LogLevel, firstLog, maxLog)
	var first, again *Error
	if p.LogLevel != 0 || !errors.As(err, &first) {
		return lp, err
	}
	lp, second := load(p, 1, againLog, againLog)
	switch {
	case second == nil: // as it had been, had it been asked now
		lp.Log = ""
		return lp, nil
	case errors.As(second, &again):
		first.Log = again.Log // of too long a log the end, and ENOSPC
	}
	return nil, err
}

// load is one PROG_LOAD, repeated only to make the log buffer, of size bytes at
// first, as large as the kernel asks, but no larger than most.
func load(p *Prog, level uint32, size, most int) (*LoadedProg, error) {
	code := isa.Encode(p.Insns, binary.LittleEndian)
	license := append([]byte(p.License), 0)
	fds := fdArray(p)
	attr := progLoadAttr{
		progType: uint32(p.Type), insnCnt: uint32(len(p.Insns)),
		insns: unsafe.Pointer(unsafe.SliceData(code)), license: unsafe.Pointer(&license[0]),
		logLevel: level, progFlags: p.Flags, progName: objName(p.Name), progIfindex: p.IfIndex,
		expectedAttach: uint32(p.Attach), attachBTFID: p.AttachBTFID,
		fdArray: unsafe.Pointer(unsafe.SliceData(fds)),
	}
	if p.BTF != nil {
		attr.progBTFFD = uint32(p.BTF.FD())
		attr.funcInfo, attr.funcInfoCnt = records(p.FuncInfo, funcInfoSize)
		attr.lineInfo, attr.lineInfoCnt = records(p.LineInfo, lineInfoSize)
		attr.funcInfoRecSize, attr.lineInfoRecSize = funcInfoSize, lineInfoSize
	}
	switch {
	case p.AttachProg != nil:
		attr.attachFD = uint32(p.AttachProg.fd)
	case p.AttachBTF != nil:
		attr.attachFD = uint32(p.AttachBTF.FD())
	}
	for ; ; size = max(2*size, int(attr.logTrueSize)) {
		var log []byte
		if level != 0 {
			log = make([]byte, size)
			attr.logBuf, attr.logSize = unsafe.Pointer(&log[0]), uint32(size)
		}
		var fd int
		err := undisturbed(func() (err error) {
			fd, err = bpf(cmdProgLoad, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
			return err
		})
		runtime.KeepAlive(p)
		if err == nil {
			return &LoadedProg{fd: fd, Log: cString(log)}, nil
		}
		if e := (*Error)(nil); errors.As(err, &e) {
			if e.Errno == errno.ENOSPC && level != 0 && size < most {
				continue
			}
			e.Log = cString(log)
		}
		return nil, err
	}
}

// FD returns the descriptor, which stays the program's own.
func (p *LoadedProg) FD() int { return p.fd }

// Close drops the program.
func (p *LoadedProg) Close() error { return closeFD(p.fd) }

func fdArray(p *Prog) []int32 {
	var fds []int32
	for _, m := range p.Maps {
		if m == nil {
			fds = append(fds, 0)
			continue
		}
		fds = append(fds, int32(m.fd))
	}
	for _, b := range p.BTFs {
		fds = append(fds, int32(b.FD()))
	}
	return fds
}

func records(raw []byte, size int) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(raw)), uint32(len(raw) / size)
}

// objName makes the fixed-size name field of programs and maps (BPF_OBJ_NAME_LEN).
func objName(s string) (name [16]byte) {
	copy(name[:15], s)
	return name
}

// cString returns the bytes before the first zero.
func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
