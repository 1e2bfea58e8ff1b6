// Package image turns a BPF object file into what bpf(2) takes: linked
// programs, map definitions and BTF, by libbpf's rules.
//
//	object.o ──elf──▶ functions ──CO-RE──▶ patched ──link──▶ Programs
//	         ├──BTF, .maps, maps, .data*, .kconfig, .struct_ops*──▶ Maps
//	         └──undefined symbols──▶ Externs
//
// Instructions stay byte for byte as the compiler wrote them, except where a
// relocation or a call says otherwise. Nothing is loaded anywhere: references
// to maps are left as indices into [Image.Maps] (PSEUDO_MAP_IDX), which is the
// form bpf(2) resolves through its fd_array.
//
// Everything exported here can also be filled in by hand, to run programs that
// never were in an object file.
package image

import (
	"encoding/binary"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Image is a linked object.
type Image struct {
	// Name is the object's name: its file name without ".o" and ".bpf".
	Name string
	// ByteOrder is the order of the target the object was built for.
	ByteOrder binary.ByteOrder
	// License is the content of section "license", "" without one.
	License string
	// KernelVersion is the content of section "version" (LINUX_VERSION_CODE), or 0.
	KernelVersion uint32

	// Programs are in the order of their sections and offsets.
	Programs []*Program
	// Maps are in the order that PSEUDO_MAP_IDX immediates count.
	Maps []*Map
	// Externs are the kernel symbols and configuration values the object asks for.
	Externs []*Extern

	// BTF are the object's types, completed with section sizes and offsets; nil without .BTF.
	BTF *btf.Spec
	// RawBTF is the same in the wire format the kernel accepts (BPF_BTF_LOAD):
	// externs became variables of type int. Type ids are those of BTF.
	RawBTF []byte
}

// Program is one entry point with every function it can reach.
type Program struct {
	Name    string // the function's name
	Section string // the ELF section, without a leading "?"

	Type   catalog.ProgType // ProgUnspec when the section name says nothing
	Attach catalog.AttachType
	// AttachTo is what follows the "/" of the section name: a kernel function, a hook,
	// a tracepoint. Of struct_ops programs it is the member that a struct_ops map
	// points to them from, "tcp_congestion_ops:ssthresh"; "": none does.
	AttachTo string
	// Flags are the BPF_F_* load flags the section name stands for (BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS).
	Flags uint32
	// Optional is set for sections that begin with "?": loaded only when asked for by name.
	Optional bool

	// Insns are the slots of the entry function, then those of its subprograms in
	// the order libbpf appends them.
	Insns []isa.Instruction
	// Funcs has the first slot of each function, Lines the source lines, both by
	// rising slot; nil without .BTF.ext.
	Funcs []FuncInfo
	Lines []LineInfo

	// Err says why the program cannot be loaded as it is: a strong extern or a
	// CO-RE relocation that cannot be resolved. Other programs are not affected.
	Err error
}

// FuncInfo is one record of func_info: the function that begins at Slot.
type FuncInfo struct {
	Slot int
	Func *btf.Func
	ID   btf.TypeID // of Func in the object's BTF
}

// LineInfo is one record of line_info: the source of the instructions from Slot on.
type LineInfo struct {
	Slot   int
	File   string
	Line   string // source text
	LineNo int    // counted from 1; 0: not known
	Column int

	FileOff, LineOff uint32 // of File and Line in the string table of RawBTF
}

// FuncInfoSize and LineInfoSize are the sizes of struct bpf_func_info and
// struct bpf_line_info, in bytes.
const (
	FuncInfoSize = 8
	LineInfoSize = 16
)

// FuncInfoRecords returns Funcs as an array of struct bpf_func_info that goes
// with [Image.RawBTF], in the given byte order.
func (p *Program) FuncInfoRecords(order binary.ByteOrder) []byte {
	out := make([]byte, 0, len(p.Funcs)*FuncInfoSize)
	for _, f := range p.Funcs {
		out = appendU32(out, order, uint32(f.Slot), uint32(f.ID))
	}
	return out
}

// LineInfoRecords returns Lines as an array of struct bpf_line_info that goes
// with [Image.RawBTF], in the given byte order.
func (p *Program) LineInfoRecords(order binary.ByteOrder) []byte {
	out := make([]byte, 0, len(p.Lines)*LineInfoSize)
	for _, l := range p.Lines {
		pos := uint32(l.LineNo)<<10 | uint32(l.Column)&0x3ff
		out = appendU32(out, order, uint32(l.Slot), l.FileOff, l.LineOff, pos)
	}
	return out
}

func appendU32(b []byte, order binary.ByteOrder, vals ...uint32) []byte {
	for _, v := range vals {
		b = binary.BigEndian.AppendUint32(b, v)
		order.PutUint32(b[len(b)-4:], v)
	}
	return b
}

// Pinning says where a map wants to be found by name.
type Pinning uint32

// Pinning values. The first two are libbpf's (LIBBPF_PIN_*), the others iproute2's;
// maps may have more, which only the object's own loader knows.
const (
	PinNone   Pinning = 0
	PinByName Pinning = 1
	PinObject Pinning = 0x10001 // PIN_OBJECT_NS: in a directory of the object's own
	PinGlobal Pinning = 0x10002 // PIN_GLOBAL_NS: tc/globals
)

// MapKind says which part of the object a map comes from.
type MapKind uint8

// Kinds of maps.
const (
	KindDefined   MapKind = iota // in .maps, maps, or made by hand
	KindData                     // .data, .data.*: global variables
	KindBSS                      // .bss, .bss.*: global variables that start as zero
	KindRodata                   // .rodata, .rodata.*: constants
	KindKconfig                  // .kconfig: configuration values of the kernel
	KindStructOps                // .struct_ops, .struct_ops.link
)

// Map is the definition of one map.
type Map struct {
	// Name is the variable's name, or the section's for global data (".rodata").
	Name string
	// KernelName is the name bpf(2) is given, at most 15 bytes: libbpf puts the
	// object's name before that of a data section ("firewall.rodata").
	KernelName string
	Kind       MapKind

	Type       catalog.MapType
	KeySize    uint32 // bytes
	ValueSize  uint32 // bytes
	MaxEntries uint32
	Flags      uint32 // BPF_F_*
	Extra      uint64 // map_extra
	NUMANode   uint32
	Pinning    Pinning
	ID         uint32 // iproute2's "id" of bpf_elf_map; 0: none

	// Key and Value are nil where the definition gives only sizes. Value of
	// global data is a *btf.Datasec. The ids are those of [Image.BTF].
	Key, Value     btf.Type
	KeyID, ValueID btf.TypeID

	// Inner is the template of map-in-map types, Slots their first content and
	// that of program arrays.
	Inner *Map
	Slots []Slot

	// Data is what value 0 holds at first; nil: all zero. An arena's are the
	// variables at its start.
	Data []byte
	// Freeze asks that user space be kept from writing once Data is in place.
	Freeze bool

	// StructOps is set on maps of KindStructOps.
	StructOps *StructOps
	// Optional is set for "?.struct_ops" sections: made only when asked for by name.
	Optional bool
}

// Def is the definition bpf(2) is given to make the map. A perf event array
// without a size gets an entry for each of cpus possible CPUs, as from libbpf; types
// that the kernel would refuse are left out.
func (m *Map) Def(cpus int) *catalog.MapDef {
	def := &catalog.MapDef{
		Name: m.KernelName, Type: m.Type, KeySize: m.KeySize, ValueSize: m.ValueSize,
		MaxEntries: m.MaxEntries, Flags: m.Flags, Extra: m.Extra, Key: m.Key, Value: m.Value,
	}
	if m.Value == nil || !catalog.Described(m.Type) {
		def.Key, def.Value = nil, nil
	}
	if _, none := def.Key.(*btf.Void); none {
		def.Key = nil
	}
	if m.Type == catalog.MapPerfEventArray && m.MaxEntries == 0 {
		def.MaxEntries = uint32(cpus)
	}
	if m.Inner != nil {
		def.Inner = m.Inner.Def(cpus)
	}
	return def
}

// Slot is one element a map starts with: another map or a program.
type Slot struct {
	Key  uint32
	Map  *Map
	Prog *Program
}

// StructOps ties a struct_ops map's function pointers to programs. The plain
// members are in [Map.Data], in the object's own layout of the type.
type StructOps struct {
	Type    *btf.Struct
	Members []StructOpsMember
}

// Name is the name of the kernel's structure: the type's, without a flavor ("___v2").
func (s *StructOps) Name() string {
	name, _, _ := strings.Cut(s.Type.Name, "___")
	return name
}

// Program returns the program that the member at an offset of the object's layout points to, or nil.
func (s *StructOps) Program(off uint32) *Program {
	for _, m := range s.Members {
		if m.Off == off {
			return m.Prog
		}
	}
	return nil
}

// StructOpsMember is one member of a struct_ops value that points to a program.
type StructOpsMember struct {
	Name string
	Off  uint32 // in the object's layout, bytes
	Prog *Program
}

// ExternKind is what an extern refers to.
type ExternKind uint8

// Kinds of externs.
const (
	ExternKconfig ExternKind = iota // a value of the kernel's configuration
	ExternFunc                      // a kernel function (kfunc)
	ExternVar                       // a typed kernel variable
	ExternSym                       // an untyped kernel symbol: only its address
)

// Extern is an undefined symbol of the object.
type Extern struct {
	Name string
	Kind ExternKind
	Weak bool     // zero when not found
	Type btf.Type // *btf.FuncProto of functions; a variable's type else

	// Resolved is set when the target has it: ID is its type id in the target's
	// BTF (functions and variables), Addr its address (untyped symbols), Off its
	// place in the .kconfig map.
	Resolved bool
	ID       btf.TypeID
	Addr     uint64
	Off      uint32

	raw rawExtern
}

// CheckOrder returns an error unless the image is for machines of this one's
// byte order: only those it can run on. Images made by hand need not say.
func CheckOrder(img *Image) error {
	if img.ByteOrder == nil || isLittle(img.ByteOrder) == isLittle(binary.NativeEndian) {
		return nil
	}
	return at("", img.Name, ErrNotSupported, "built for machines of the other byte order than this one's")
}

func isLittle(order binary.ByteOrder) bool { return order.Uint16([]byte{1, 0}) == 1 }

// Program returns the program of that name, or nil.
func (img *Image) Program(name string) *Program {
	for _, p := range img.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Map returns the map of that name, or nil.
func (img *Image) Map(name string) *Map {
	for _, m := range img.Maps {
		if m.Name == name {
			return m
		}
	}
	return nil
}
