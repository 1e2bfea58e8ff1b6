package run

import (
	"sync"

	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
)

// About is what was said of a program when it was loaded and has no part in its
// runs (the rest of struct bpf_prog_aux). The zero value is a program nobody asks about.
type About struct {
	Time uint64 // of the load, nanoseconds since boot
	UID  uint32 // of who loaded it
	Tag  [8]byte

	// BTF is the id of the program's types, 0 without; FuncInfo and LineInfo are
	// its records as the uapi has them, of 8 and 16 bytes.
	BTF                uint32
	FuncInfo, LineInfo []byte
	// AttachBTF and AttachBTFType are the ids of the object attached to and of the type in it.
	AttachBTF, AttachBTFType uint32
	VerifiedInsns            int
	// Target is the program attached to, until a link has it; nil: it attaches to none.
	Target *AttachTarget

	// Freed is called when the program is gone; nil: nobody.
	Freed func()
}

// AttachTarget is the program whose function another was loaded for (bpf_prog_aux.dst_prog). It lives as long
// as that one, or, once there is a link, as the link.
type AttachTarget struct {
	sync.Mutex
	Prog *Program // nil: handed to a link
}

// Close gives the program back, if it is there still.
func (t *AttachTarget) Close() {
	if t.Prog != nil {
		t.Prog.Close()
		t.Prog = nil
	}
}

// LoadOptions shape [Machine.Load].
type LoadOptions struct {
	Verifier verifier.Options
	// Blind hides constants, see [rewrite.Options]; nil: it does not.
	Blind func() uint32
	// Maps returns those the program refers to, each once, after it was verified.
	Maps func() []maps.Map
	About
}

// Load takes a program through its stages: verified, rewritten, compiled, known by an id.
func (m *Machine) Load(vp *verifier.Program, o LoadOptions) (*Program, *verifier.Result, error) {
	res, err := verifier.Verify(vp, o.Verifier)
	if err != nil {
		return nil, nil, err
	}
	rw, err := rewrite.Options{Inline: m.Native(), Doubt: m.opts.Checked, Blind: o.Blind}.Rewrite(vp, res)
	if err != nil {
		return nil, res, err
	}
	if o.Time == 0 {
		o.Time = m.clock.Boot()
	}
	o.VerifiedInsns = res.Stats.InsnProcessed
	p, err := m.newProgram(rw, o.Maps(), o.About)
	return p, res, err
}

// GPLCompatible follows license_is_gpl_compatible (include/linux/license.h).
func GPLCompatible(license string) bool {
	switch license {
	case "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL":
		return true
	}
	return false
}
