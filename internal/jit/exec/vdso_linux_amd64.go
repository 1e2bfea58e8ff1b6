package exec

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/mem"
)

// clockGettime is the address of clock_gettime in the vDSO, the piece of code that the kernel
// maps into every process so that clocks can be read without a system call; 0 if it is not there.
//
// Native code may call it as C does: of its registers the function keeps those that BPF keeps over
// calls, and the stack it needs is small. A signal that arrives in it finds Go's g as ever, in
// thread-local storage. On arm64 it would not: there the handler expects g in a place that
// the runtime fills before calls of its own.
var clockGettime = vdso("__vdso_clock_gettime")

// vdso finds a function of the vDSO by name.
func vdso(name string) uint64 {
	const sysinfoEhdr, headerSize = 33, 64 // AT_SYSINFO_EHDR: where the vDSO's ELF header lies
	aux, err := unix.Auxv()
	if err != nil {
		return 0
	}
	base := uint64(0)
	for _, kv := range aux {
		if kv[0] == sysinfoEhdr {
			base = uint64(kv[1])
		}
	}
	if base == 0 {
		return 0
	}
	// Sound: the whole file is mapped, for as long as the process lives; its section headers end it.
	header := mem.Bytes(base, headerSize)
	le := binary.LittleEndian
	end := le.Uint64(header[40:]) + uint64(le.Uint16(header[58:]))*uint64(le.Uint16(header[60:]))
	f, err := elf.NewFile(bytes.NewReader(mem.Bytes(base, int(end))))
	if err != nil {
		return 0
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0
	}
	for _, s := range symbols {
		if s.Name != name || s.Section == elf.SHN_UNDEF {
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value-p.Vaddr < p.Memsz {
				return base + s.Value - p.Vaddr + p.Off
			}
		}
	}
	return 0
}
