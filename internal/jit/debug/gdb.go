//go:build linux && (amd64 || arm64)

package debug

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime"
	"sync"

	"github.com/skep-bpf/skep/internal/mem"
)

// gdb's JIT interface is two symbols of the process. A debugger sets a
// breakpoint on the function; when it is called, the descriptor says which
// entry of a list of object files came or is about to go:
//
//	__jit_debug_descriptor        entry
//	┌──────────────────────┐      ┌──────────────────┐
//	│ u32 version = 1      │   ┌─►│ next             │
//	│ u32 action           │   │  │ previous         │
//	│ relevant entry       │   │  │ object file      │
//	│ first entry          │───┘  │ u64 its size     │
//	└──────────────────────┘      └──────────────────┘
//
// Both symbols are written in assembly, so that they have the names gdb looks
// for without cgo. A binary without a symbol table (-ldflags=-s) lacks them.

const (
	descAction, descRelevant, descFirst          = 4, 8, 16
	entryNext, entryPrev, entryFile, entrySize   = 0, 8, 16, 24
	entryLen                                     = 32
	actionNone, actionRegister, actionUnregister = 0, 1, 2
)

// descriptor returns the address of __jit_debug_descriptor.
func descriptor() uint64

// notify calls __jit_debug_register_code.
func notify()

// registry guards the list, which all machines of the process share.
var registry sync.Mutex

// Register tells debuggers of functions that lie in one piece of code, and
// returns what takes it back.
func Register(fns []Function) (unregister func(), err error) {
	file := object(fns)
	// Off the Go heap: a debugger reads it at any time, and the list holds addresses.
	block, err := mem.Alloc(entryLen + len(file))
	if err != nil {
		return nil, err
	}
	entry := block.Addr()
	copy(block.Bytes()[entryLen:], file)
	registry.Lock()
	defer registry.Unlock()
	desc := descriptor()
	next := mem.Load64(desc + descFirst)
	mem.Store64(entry+entryNext, next)
	mem.Store64(entry+entryFile, entry+entryLen)
	mem.Store64(entry+entrySize, uint64(len(file)))
	if next != 0 {
		mem.Store64(next+entryPrev, entry)
	}
	mem.Store64(desc+descFirst, entry)
	tell(desc, entry, actionRegister)
	return func() {
		registry.Lock()
		defer registry.Unlock()
		prev, next := mem.Load64(entry+entryPrev), mem.Load64(entry+entryNext)
		if prev != 0 {
			mem.Store64(prev+entryNext, next)
		} else {
			mem.Store64(desc+descFirst, next)
		}
		if next != 0 {
			mem.Store64(next+entryPrev, prev)
		}
		tell(desc, entry, actionUnregister)
		block.Free()
	}, nil
}

func tell(desc, entry uint64, action uint32) {
	mem.Store64(desc+descRelevant, entry)
	mem.Store32(desc+descAction, action)
	notify()
	mem.Store32(desc+descAction, actionNone)
	mem.Store64(desc+descRelevant, 0)
}

// object makes an object file that holds symbols for code that lies elsewhere.
func object(fns []Function) []byte {
	lo, hi := ^uint64(0), uint64(0)
	for _, f := range fns {
		lo, hi = min(lo, f.Addr), max(hi, f.Addr+uint64(f.Size))
	}
	const text, symtab, strtab, shstrtab, sections = 1, 2, 3, 4, 5
	names := []byte("\x00.text\x00.symtab\x00.strtab\x00.shstrtab\x00")
	at := func(name string) uint32 { return uint32(bytes.Index(names, []byte("\x00"+name+"\x00")) + 1) }
	strings := []byte{0}
	syms := []elf.Sym64{{}}
	for _, f := range fns {
		syms = append(syms, elf.Sym64{
			Name: uint32(len(strings)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: text, Value: f.Addr - lo, Size: uint64(f.Size),
		})
		strings = append(append(strings, f.Name...), 0)
	}
	machine := elf.EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_AARCH64
	}
	headers := uint64(binary.Size(elf.Header64{}))
	symOff := headers + sections*uint64(binary.Size(elf.Section64{}))
	symLen := uint64(binary.Size(syms))
	var out bytes.Buffer
	le := binary.LittleEndian
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Shoff: headers, Ehsize: uint16(headers), Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: sections, Shstrndx: shstrtab,
	}
	binary.Write(&out, le, h) // writing to memory does not fail
	binary.Write(&out, le, []elf.Section64{
		{},
		{Name: at(".text"), Type: uint32(elf.SHT_NOBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR), Addr: lo, Size: hi - lo, Addralign: 16},
		{Name: at(".symtab"), Type: uint32(elf.SHT_SYMTAB), Off: symOff, Size: symLen, Link: strtab, Info: 1, Addralign: 8, Entsize: uint64(binary.Size(elf.Sym64{}))},
		{Name: at(".strtab"), Type: uint32(elf.SHT_STRTAB), Off: symOff + symLen, Size: uint64(len(strings)), Addralign: 1},
		{Name: at(".shstrtab"), Type: uint32(elf.SHT_STRTAB), Off: symOff + symLen + uint64(len(strings)), Size: uint64(len(names)), Addralign: 1},
	})
	binary.Write(&out, le, syms)
	out.Write(strings)
	out.Write(names)
	return out.Bytes()
}
