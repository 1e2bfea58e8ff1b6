package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits that keep a hostile object from asking for the machine's memory. The
// largest objects in the field (Cilium, sched_ext) stay below a tenth of them.
const (
	maxSections    = 4096
	maxSymbols     = 1 << 18
	maxSectionSize = 64 << 20  // bytes of one section that are read
	maxTotalSize   = 256 << 20 // bytes of all sections together
	maxZeroSize    = 256 << 20 // bytes of a .bss section, which takes no room in the file
)

// object is an ELF file taken apart.
type object struct {
	file     *elf.File
	order    binary.ByteOrder
	sections []*section // by ELF index; element 0 is the null section
	symbols  []symbol   // by ELF index; element 0 is the null symbol
	read     int64      // bytes of sections read so far
}

// section is one ELF section. data is nil until [object.data] reads it.
type section struct {
	*elf.Section
	idx    int
	data   []byte
	relocs []elfReloc // that apply to this section, in file order
}

// symbol is one ELF symbol with its section looked up.
type symbol struct {
	elf.Symbol
	sec *section // nil for undefined, absolute and common symbols
}

// elfReloc is one SHT_REL record: at Off in its section, patch with Sym.
type elfReloc struct {
	Off uint64
	Sym int // index into object.symbols
	Typ uint32
}

// openELF reads headers, symbols and relocations.
func openELF(rd io.ReaderAt) (*object, error) {
	var magic [4]byte
	if n, err := rd.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%w: %w", ErrNotELF, err)
	} else if string(magic[:]) != elf.ELFMAG {
		return nil, notELF(magic[:n])
	}
	file, err := elf.NewFile(rd)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrTruncated, err)
	}
	// Old LLVM wrote EM_NONE (libbpf accepts both, bpf_object__elf_init).
	if file.Type != elf.ET_REL || file.Machine != elf.EM_BPF && file.Machine != elf.EM_NONE {
		return nil, fmt.Errorf("%w: ELF type %v for machine %v: clang -O2 -g -target bpf -c makes one", ErrNotBPF, file.Type, file.Machine)
	}
	if file.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("%w: %v", ErrNotBPF, file.Class)
	}
	if len(file.Sections) > maxSections {
		return nil, fmt.Errorf("%w: %d sections", ErrTooLarge, len(file.Sections))
	}
	obj := &object{file: file, order: file.ByteOrder}
	for i, s := range file.Sections {
		obj.sections = append(obj.sections, &section{Section: s, idx: i})
	}
	if err := obj.readSymbols(); err != nil {
		return nil, err
	}
	for _, s := range obj.sections {
		if s.Type != elf.SHT_REL {
			continue
		}
		if err := obj.readRelocs(s); err != nil {
			return nil, err
		}
	}
	return obj, nil
}

// content returns a section's bytes, reading them once.
func (o *object) content(s *section) ([]byte, error) {
	if s.data != nil || s.Type == elf.SHT_NOBITS || s.Size == 0 {
		return s.data, nil
	}
	if s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, at(s.Name, "", ErrNotSupported, "compressed section")
	}
	if s.Size > maxSectionSize || o.read+int64(s.Size) > maxTotalSize {
		return nil, at(s.Name, "", ErrTooLarge, "%d bytes", s.Size)
	}
	data, err := s.Data()
	if err != nil || uint64(len(data)) != s.Size {
		return nil, at(s.Name, "", ErrTruncated, "section ends beyond the file")
	}
	o.read += int64(len(data))
	s.data = data
	return data, nil
}

// notELF says what a file that begins otherwise is.
func notELF(begin []byte) error {
	if bitcode := "BC\xc0\xde"; string(begin) == bitcode {
		return fmt.Errorf("%w: it is LLVM bitcode: compile without -emit-llvm and -flto", ErrNotELF)
	}
	for _, c := range begin {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return ErrNotELF
		}
	}
	if len(begin) == 0 {
		return fmt.Errorf("%w: it is empty", ErrNotELF)
	}
	return fmt.Errorf("%w: it is text: an object is what clang -O2 -g -target bpf -c makes of C", ErrNotELF)
}

// readSymbols fills o.symbols, so that indices are those of relocations.
func (o *object) readSymbols() error {
	for _, s := range o.sections {
		if s.Type == elf.SHT_SYMTAB && s.Size/elf.Sym64Size > maxSymbols {
			return at(s.Name, "", ErrTooLarge, "%d symbols", s.Size/elf.Sym64Size)
		}
	}
	syms, err := o.file.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("%w: no symbol table: strip it of debug information alone (llvm-strip -g)", ErrNotBPF)
	}
	if err != nil {
		return fmt.Errorf("%w: symbol table: %v", ErrTruncated, err)
	}
	o.symbols = make([]symbol, 1, len(syms)+1)
	for _, s := range syms {
		sym := symbol{Symbol: s}
		if s.Section != elf.SHN_UNDEF && s.Section < elf.SHN_LORESERVE {
			if int(s.Section) >= len(o.sections) {
				return at("", s.Name, ErrTruncated, "symbol in section %d of %d", s.Section, len(o.sections))
			}
			sym.sec = o.sections[s.Section]
		}
		o.symbols = append(o.symbols, sym)
	}
	return nil
}

// readRelocs attaches the records of rel to the section they apply to.
func (o *object) readRelocs(rel *section) error {
	if uint64(rel.Info) >= uint64(len(o.sections)) || rel.Entsize != 16 {
		return at(rel.Name, "", ErrTruncated, "relocation section for section %d with records of %d bytes", rel.Info, rel.Entsize)
	}
	target := o.sections[rel.Info]
	if !wantsRelocs(target) {
		return nil
	}
	data, err := o.content(rel)
	if err != nil {
		return err
	}
	for ; len(data) >= 16; data = data[16:] {
		info := o.order.Uint64(data[8:])
		r := elfReloc{Off: o.order.Uint64(data), Sym: int(info >> 32), Typ: uint32(info)}
		if r.Sym >= len(o.symbols) {
			return at(rel.Name, "", ErrTruncated, "relocation against symbol %d of %d", r.Sym, len(o.symbols))
		}
		target.relocs = append(target.relocs, r)
	}
	return nil
}

// wantsRelocs tells sections whose relocations mean something to a loader from
// those (debug information, BTF) whose relocations are for a linker.
func wantsRelocs(s *section) bool {
	return s.isCode() || s.Name == secMaps || isStructOpsSection(s.Name)
}

// isCode reports whether the section holds instructions.
func (s *section) isCode() bool {
	return s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_EXECINSTR != 0 && s.Size > 0
}

// Section names with a meaning.
const (
	secText    = ".text"
	secMaps    = ".maps"
	secLegacy  = "maps"
	secData    = ".data"
	secRodata  = ".rodata"
	secBSS     = ".bss"
	secKconfig = ".kconfig"
	secKsyms   = ".ksyms"
	secArena   = ".addr_space.1"
	secBTF     = ".BTF"
	secBTFExt  = ".BTF.ext"
)

// isNamed reports whether name is base or one of its siblings "base.…".
func isNamed(name, base string) bool {
	return name == base || strings.HasPrefix(name, base+".")
}

func isStructOpsSection(name string) bool {
	name = strings.TrimPrefix(name, "?")
	return name == ".struct_ops" || name == ".struct_ops.link"
}

// byName returns the first section of that name, or nil.
func (o *object) byName(name string) *section {
	for _, s := range o.sections {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// isExtern reports whether the symbol is one the kernel must provide.
func (s *symbol) isExtern() bool {
	bind := elf.ST_BIND(s.Info)
	return s.Section == elf.SHN_UNDEF && s.Name != "" &&
		(bind == elf.STB_GLOBAL || bind == elf.STB_WEAK) && elf.ST_TYPE(s.Info) == elf.STT_NOTYPE
}

// isHidden reports whether the symbol's visibility keeps it inside its object.
func (s *symbol) isHidden() bool {
	v := elf.ST_VISIBILITY(s.Other)
	return v == elf.STV_HIDDEN || v == elf.STV_INTERNAL
}

// label names the symbol in messages: section symbols have no name of their own.
func (s *symbol) label() string {
	if s.Name == "" && s.sec != nil {
		return s.sec.Name
	}
	return s.Name
}
