package linux

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// HaveProgType reports whether programs of a type can be loaded.
func HaveProgType(t catalog.ProgType) bool {
	return features.HaveProgramType(ebpf.ProgramType(t)) == nil
}

// HaveMapType reports whether maps of a type can be made.
func HaveMapType(t catalog.MapType) bool { return features.HaveMapType(ebpf.MapType(t)) == nil }

// HaveHelper reports whether programs of a type may call a helper; of types whose
// programs need something to attach to nobody can tell.
func HaveHelper(t catalog.ProgType, id catalog.HelperID) bool {
	switch t {
	case catalog.ProgTracing, catalog.ProgStructOps, catalog.ProgExt, catalog.ProgLSM:
		return false
	}
	return features.HaveProgramHelper(ebpf.ProgramType(t), asm.BuiltinFunc(id)) == nil
}

// Loads reports whether a program of a type is taken, for a device if ifindex is not 0.
func Loads(t catalog.ProgType, insns []isa.Instruction, ifindex uint32) bool {
	p, err := load(&Prog{Type: t, Insns: insns, License: "GPL", IfIndex: ifindex}, 0, firstLog, maxLog)
	if err == nil {
		p.Close()
	}
	return err == nil
}

// RefusalLog is what the verifier says of a program it refuses, "" of one it takes.
func RefusalLog(t catalog.ProgType, insns []isa.Instruction, ifindex uint32) string {
	p, err := load(&Prog{Type: t, Insns: insns, License: "GPL", IfIndex: ifindex}, 1, firstLog, maxLog)
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Log
	}
	if err == nil {
		p.Close()
	}
	return ""
}
