package skep

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/loadprog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Collection is what was loaded from one image: programs and maps by name.
type Collection struct {
	Programs map[string]*Program
	Maps     map[string]*Map
	// Refused has, with [CollectionOptions.KeepGoing], why a program is not among Programs.
	Refused map[string]error
}

// CollectionOptions shape a load.
type CollectionOptions struct {
	// Programs are the names of those to load; nil: all that load by default.
	Programs []string
	// KeepGoing loads what can be loaded; [Collection.Refused] says why the rest cannot.
	KeepGoing bool
	// LogLevel has the verifier's bits: 1 states at branches, 2 at every
	// instruction, 4 figures. A refusal carries its log at level 1 in any case.
	LogLevel uint32
	// Optional are the names of those to make of the maps that are made only when asked for
	// (sections "?.struct_ops", "?.struct_ops.link").
	Optional []string
	// Maps replaces maps of the image by existing ones, by name. They stay the
	// caller's to close.
	Maps map[string]*Map
	// Share makes the maps in memory that other processes can be given, by [Collection.Send] or [Map.File], as far as
	// their type and their values allow: arrays and hash maps, per CPU or not, ring buffers, queues and stacks. [Map.Shared] tells. Only on Linux.
	Share bool
	// Processes is how many may have a per-CPU map at once: each has CPUs of its own in it, see [Map.CPUs]. 0: 4; at most 255.
	Processes int
}

// LoadImageFile reads an object file for this machine's kernel types.
func (m *Machine) LoadImageFile(path string) (*image.Image, error) {
	return image.LoadFile(path, m.imageOptions())
}

// LoadImage reads an object; name stands for it in errors.
func (m *Machine) LoadImage(rd io.ReaderAt, name string) (*image.Image, error) {
	return image.Load(rd, name, m.imageOptions())
}

func (m *Machine) imageOptions() *image.Options {
	return &image.Options{TargetBTF: func() (*btf.Spec, error) {
		if spec := m.kernelBTF(); spec != nil {
			return spec, nil
		}
		return nil, errors.New("no kernel types: give MachineOptions.KernelBTF")
	}}
}

// LoadCollectionFile reads an object file, creates its maps and verifies and loads its programs.
func (m *Machine) LoadCollectionFile(path string) (*Collection, error) {
	img, err := m.LoadImageFile(path)
	if err != nil {
		return nil, err
	}
	return m.LoadCollection(img)
}

// LoadCollection is [Machine.LoadCollectionWithOptions] with none.
func (m *Machine) LoadCollection(img *image.Image) (*Collection, error) {
	return m.LoadCollectionWithOptions(img, CollectionOptions{})
}

// LoadCollectionWithOptions creates an image's maps and verifies and loads its
// programs. Nothing stays behind after an error. A refused program's error wraps a [*VerifierError].
func (m *Machine) LoadCollectionWithOptions(img *image.Image, opts CollectionOptions) (*Collection, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	l := loader{m: m, img: img, opts: opts, coll: &Collection{
		Programs: map[string]*Program{}, Maps: map[string]*Map{}, Refused: map[string]error{},
	}}
	if err := l.load(); err != nil {
		l.coll.Close()
		return nil, err
	}
	return l.coll, nil
}

// Close gives up all programs and maps.
func (c *Collection) Close() {
	for _, p := range c.Programs {
		p.Close()
	}
	for _, m := range c.Maps {
		m.Close()
	}
}

// loader carries one image into a machine.
type loader struct {
	m    *Machine
	img  *image.Image
	opts CollectionOptions
	coll *Collection
	maps []maps.Map        // by index into img.Maps; nil for one that is not there
	defs []*catalog.MapDef // the same, of maps that are verified with but not made
	gpl  bool
	// types are the image's, where somebody shows them; else nil.
	types run.Types
}

func (l *loader) load() error {
	if err := image.CheckOrder(l.img); err != nil {
		return err
	}
	for _, name := range l.opts.Programs {
		if l.img.Program(name) == nil {
			return fmt.Errorf("no program %s in %s", name, l.img.Name)
		}
	}
	for _, name := range l.opts.Optional {
		if !slices.ContainsFunc(l.img.Maps, func(im *image.Map) bool { return im.Name == name && im.Optional }) {
			return fmt.Errorf("no optional map %s in %s", name, l.img.Name)
		}
	}
	if l.types = l.m.m.Types(l.img.RawBTF); l.types != nil {
		defer l.types.Close()
	}
	if err := l.createMaps(); err != nil {
		return err
	}
	for _, ip := range l.img.Programs {
		if !l.wanted(ip) {
			continue
		}
		p, err := l.loadProgram(ip)
		if err != nil {
			err = fmt.Errorf("program %s: %w", ip.Name, l.refused(ip, err))
			if !l.opts.KeepGoing {
				return err
			}
			l.coll.Refused[ip.Name] = err
			continue
		}
		l.coll.Programs[ip.Name] = p
	}
	for _, im := range l.img.Maps {
		fill := l.fillPrograms
		if im.Kind == image.KindStructOps {
			fill = l.implement
		}
		if err := fill(im); err != nil {
			return fmt.Errorf("map %s: %w", im.Name, err)
		}
	}
	return nil
}

// createMaps makes all maps of the image and puts them into those that hold maps.
func (l *loader) createMaps() error {
	l.gpl = run.GPLCompatible(l.img.License)
	for _, im := range l.img.Maps {
		if err := l.createMap(im); err != nil {
			return fmt.Errorf("map %s: %w", im.Name, err)
		}
	}
	for _, im := range l.img.Maps {
		if err := l.fillMaps(im); err != nil {
			return fmt.Errorf("map %s: %w", im.Name, err)
		}
	}
	return nil
}

func (l *loader) wanted(ip *image.Program) bool {
	if l.opts.Programs != nil {
		return slices.Contains(l.opts.Programs, ip.Name)
	}
	if ip.Type == catalog.ProgStructOps { // libbpf: bpf_object_adjust_struct_ops_autoload
		if used, made := l.implements(ip); used {
			return made
		}
	}
	return !ip.Optional
}

// createMap makes the next map of the image and gives it its first content.
func (l *loader) createMap(im *image.Map) error {
	if given := l.opts.Maps[im.Name]; given != nil {
		l.coll.Maps[im.Name] = given.Clone()
		l.maps = append(l.maps, maps.Unwrap(given.m))
		return nil
	}
	if im.Optional && !slices.Contains(l.opts.Optional, im.Name) {
		l.maps = append(l.maps, nil)
		return nil
	}
	def := im.Def(l.m.CPUs())
	if im.Type == catalog.MapStructOps { // whose type is the kernel's, and whose programs come after it
		if err := l.structure(im, def); err != nil {
			return err
		}
	}
	if def.Name == "" { // made by hand
		def.Name = kernelName(im.Name)
	}
	def.Shared = l.opts.Share && !im.Freeze && maps.Shareable(def) == nil // frozen: see maps.Hand
	if def.Shared {
		def.Sharers = uint32(max(cmp.Or(l.opts.Processes, 4), 1))
	}
	l.typeMap(im, def)
	mp, err := l.m.m.NewMap(*def)
	if err != nil {
		def.BTF.Drop()
		return err
	}
	out := newMap(mp, l.m)
	l.coll.Maps[im.Name] = out
	l.maps = append(l.maps, maps.Unwrap(mp))
	if a, ok := mp.(*maps.Arena); ok {
		copy(a.Pages(0, uint64(len(im.Data))), im.Data)
	} else if im.Data != nil && im.Kind != image.KindDefined && im.Kind != image.KindStructOps {
		if err := mp.Update(make([]byte, 4), im.Data, catalog.UpdateAny); err != nil {
			return fmt.Errorf("initial content: %w", err)
		}
	}
	if im.Freeze {
		return mp.Freeze()
	}
	return nil
}

// fillMaps puts other maps of the image into a map of maps.
func (l *loader) fillMaps(im *image.Map) error {
	for _, s := range im.Slots {
		if s.Map == nil || l.coll.Maps[im.Name] == nil || l.coll.Maps[s.Map.Name] == nil {
			continue
		}
		if err := l.coll.Maps[im.Name].Put(s.Key, l.coll.Maps[s.Map.Name]); err != nil {
			return err
		}
	}
	return nil
}

// fillPrograms puts the image's programs into a program array.
func (l *loader) fillPrograms(im *image.Map) error {
	for _, s := range im.Slots {
		if s.Prog == nil {
			continue
		}
		p := l.coll.Programs[s.Prog.Name]
		if p == nil { // not asked for, or refused
			continue
		}
		if err := l.coll.Maps[im.Name].Put(s.Key, p); err != nil {
			return err
		}
	}
	return nil
}

// loadable says why a program cannot get as far as the verifier.
func loadable(ip *image.Program) error {
	if ip.Err != nil {
		return ip.Err
	}
	if ip.Type == catalog.ProgUnspec {
		return fmt.Errorf("section %q does not say what kind of program this is", ip.Section)
	}
	return nil
}

// refused completes a refusal by what linking did not find for the instruction.
func (l *loader) refused(ip *image.Program, err error) error {
	if refusal := (*VerifierError)(nil); errors.As(err, &refusal) {
		if missing := l.img.Missing(ip, refusal.Slot); missing != "" {
			return fmt.Errorf("%w: %s", err, missing)
		}
	}
	return err
}

// loadProgram takes one program through its stages.
func (l *loader) loadProgram(ip *image.Program) (*Program, error) {
	if err := loadable(ip); err != nil {
		return nil, err
	}
	vp := l.verifierProgram(ip)
	about := l.about(ip, vp)
	l.member(vp, &about)
	p, res, err := l.m.m.Load(vp, run.LoadOptions{
		Verifier: verifier.Options{
			LogLevel: l.opts.LogLevel, Unprivileged: l.m.opts.Unprivileged, States: l.m.opts.Checked,
		},
		Blind: l.m.blind(),
		Maps:  func() []maps.Map { return l.mapsOf(ip) },
		About: about,
	})
	if err != nil {
		if about.Freed != nil {
			about.Freed()
		}
		return nil, err
	}
	return &Program{p: p, mach: l.m, section: ip.Section, attach: ip.Attach, source: vp, result: res,
		from: &origin{img: l.img, prog: ip, maps: l.maps}}, nil
}

// typeMap says which types a map has, where it may have some.
func (l *loader) typeMap(im *image.Map, def *catalog.MapDef) {
	row := catalog.MapKindByType(def.Type)
	if def.Ops != nil && l.types != nil {
		l.types.Acquire()
		def.BTF = &catalog.MapBTF{ID: l.types.ID(), Release: l.types.Close}
		return
	}
	if l.types == nil || im.ValueID == 0 || row == nil || row.Types.Allow(def) != 0 {
		return
	}
	l.types.Acquire()
	def.BTF = &catalog.MapBTF{ID: l.types.ID(), Key: uint32(im.KeyID), Value: uint32(im.ValueID), Release: l.types.Close}
}

// about is what is told of a program.
func (l *loader) about(ip *image.Program, vp *verifier.Program) run.About {
	about := run.About{UID: uint32(max(os.Getuid(), 0)), Tag: isa.TagOf(vp.Insns)}
	if l.types != nil && len(ip.Funcs) > 0 {
		l.types.Acquire()
		about.BTF, about.Freed = l.types.ID(), l.types.Close
		about.FuncInfo, about.LineInfo = ip.FuncInfoRecords(l.img.ByteOrder), ip.LineInfoRecords(l.img.ByteOrder)
	}
	return about
}

// mapsOf returns the maps a program refers to, each once.
func (l *loader) mapsOf(ip *image.Program) []maps.Map {
	var used []maps.Map
	for _, ins := range ip.Insns {
		if ins.IsLoadImm64() && (ins.Src == isa.PseudoMapIdx || ins.Src == isa.PseudoMapIdxValue) {
			if m := l.maps[ins.Imm]; !slices.Contains(used, m) {
				used = append(used, m)
			}
		}
	}
	return used
}

// verifierProgram is what bpf(2) would be given.
func (l *loader) verifierProgram(ip *image.Program) *verifier.Program {
	vp := loadprog.For(l.img, ip, func(i int32) *catalog.MapDef {
		switch {
		case i < 0 || int(i) >= len(l.maps):
			return nil
		case l.maps[i] != nil:
			return l.maps[i].Def()
		case l.defs != nil:
			return l.defs[i]
		}
		return nil
	})
	vp.GPL, vp.KernelBTF = l.gpl, l.m.kernelBTF()
	return vp
}
