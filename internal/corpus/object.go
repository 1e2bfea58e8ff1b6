// Package corpus takes programs of objects built elsewhere as a loader hands
// them to bpf(2): to this verifier, and to the one of the kernel that runs.
package corpus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/loadprog"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

// Object is an object file with its maps as a program sees them.
type Object struct {
	Image *image.Image
	Defs  []*catalog.MapDef
	Progs map[string]*image.Program // by name
	// Flags are load flags besides those of the section, by program.
	Flags map[string]uint32
	// HasSymbol is as in [verifier.Program]; nil: the kernel has all.
	HasSymbol func(name string) bool

	kernel *btf.Spec
}

// Open reads an object file whose types are to fit those of kernel, for a
// machine with so many CPUs.
func Open(path string, kernel *btf.Spec, cpus int) (*Object, error) {
	img, err := image.LoadFile(path, &image.Options{TargetBTF: func() (*btf.Spec, error) { return kernel, nil }})
	if err != nil {
		return nil, err
	}
	if img.ByteOrder != binary.LittleEndian {
		return nil, errors.New("big-endian")
	}
	o := &Object{Image: img, Progs: map[string]*image.Program{}, Flags: map[string]uint32{}, kernel: kernel}
	for _, m := range img.Maps {
		m.Complete()
		o.Defs = append(o.Defs, m.Made(cpus))
	}
	for _, p := range img.Programs {
		o.Progs[p.Name] = p
	}
	return o, nil
}

// Program is what bpf(2) would be given of p.
func (o *Object) Program(p *image.Program) *verifier.Program {
	vp := loadprog.For(o.Image, p, func(i int32) *catalog.MapDef {
		if i < 0 || int(i) >= len(o.Defs) {
			return nil
		}
		return o.Defs[i]
	})
	vp.Flags |= o.Flags[p.Name]
	vp.GPL, vp.KernelBTF, vp.HasSymbol = run.GPLCompatible(o.Image.License), o.kernel, o.HasSymbol
	return vp
}

// An Answer is what one verifier said of a program.
type Answer struct {
	Accept bool
	Errno  string // of a refusal: "EACCES"
	Msg    string // of a refusal: its reason
	Log    string // at level 1
	Insns  int    // instructions processed, 0: not known
}

// Verify asks this verifier about p.
func (o *Object) Verify(p *image.Program, opts verifier.Options) (a Answer) {
	if p.Err != nil {
		return Answer{Errno: "image", Msg: p.Err.Error()}
	}
	defer func() {
		if r := recover(); r != nil {
			a = Answer{Errno: "panic", Msg: fmt.Sprint("panic: ", r)}
		}
	}()
	res, err := verifier.Verify(o.Program(p), opts)
	if err == nil {
		return Answer{Accept: true, Insns: res.Stats.InsnProcessed}
	}
	var ve *verifier.Error
	if errors.As(err, &ve) {
		return Answer{Errno: ve.Errno.Name(), Msg: ve.Msg, Log: strings.Join(ve.Lines, "\n")}
	}
	return Answer{Errno: "error", Msg: err.Error()}
}
