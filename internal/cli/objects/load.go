package objects

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/linuxload"
	"github.com/skep-bpf/skep/isa"
)

// LoadOptions say how an object is loaded.
type LoadOptions struct {
	Kind    *catalog.ProgKind // of all programs, instead of what their sections say; nil: as they say
	Section *catalog.Section
	IfIndex uint32 // of the device to load for
	Flags   uint32 // of all programs, beside their own
	// Reuse are maps to take instead of the object's, by their place among its maps.
	Reuse map[int]*linux.Object
	// StructOps has the maps of interfaces made, for Register.
	StructOps bool
}

// Loaded is an object whose maps and programs are in the system.
type Loaded struct {
	Image *image.Image
	Maps  []*linux.Map        // in the order of Image.Maps; nil for those not made
	Progs []*linux.LoadedProg // in the order of Image.Programs; nil for those not loaded

	btf    *linux.BTF
	kernel *btf.Spec
	mine   []*linux.Map // to close
}

// ReadObject reads an object file.
func (v *Verb) ReadObject(file string) (*image.Image, error) {
	img, err := image.LoadFile(file, nil)
	if err != nil {
		return nil, err
	}
	return img, image.CheckOrder(img)
}

// Load makes an object's maps and loads its programs, but for optional ones, as
// libbpf does. When it fails nothing is left.
func (v *Verb) Load(img *image.Image, o *LoadOptions) (_ *Loaded, err error) {
	l := &Loaded{Image: img, Maps: make([]*linux.Map, len(img.Maps)), Progs: make([]*linux.LoadedProg, len(img.Programs))}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if len(img.RawBTF) > 0 {
		if l.btf, err = linux.LoadBTF(img.RawBTF); err != nil {
			return nil, err
		}
	}
	cpus, err := linux.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	for i, m := range img.Maps {
		if old := o.Reuse[i]; old != nil {
			l.Maps[i] = old.AsMap()
			continue
		}
		if m.Optional || m.Kind == image.KindStructOps && !o.StructOps {
			continue
		}
		if m.Kind == image.KindStructOps {
			err = l.makeStructOps(i)
		} else {
			err = l.makeMap(v, i, cpus, o.IfIndex)
		}
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", m.Name, err)
		}
	}
	if err := linuxload.FillMaps(img, l.mapOf); err != nil {
		return nil, err
	}
	for i, p := range img.Programs {
		if p.Optional {
			continue
		}
		if l.Progs[i], err = l.load(v, p, o); err != nil {
			return nil, fmt.Errorf("program %s: %w", p.Name, err)
		}
		if err := l.bindConstants(l.Progs[i]); err != nil {
			return nil, fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	return l, l.fillPrograms()
}

// Close drops the descriptors; what is pinned or attached stays.
func (l *Loaded) Close() {
	for _, p := range l.Progs {
		if p != nil {
			p.Close()
		}
	}
	for _, m := range l.mine {
		m.Close()
	}
	if l.btf != nil {
		l.btf.Close()
	}
}

func (l *Loaded) mapOf(m *image.Map) *linux.Map {
	for i, other := range l.Image.Maps {
		if other == m {
			return l.Maps[i]
		}
	}
	return nil
}

// makeMap makes a map with what it starts with, or opens the one that is
// pinned where it wants to be found.
func (l *Loaded) makeMap(v *Verb, i, cpus int, ifindex uint32) error {
	m := l.Image.Maps[i]
	pinAt := ""
	if m.Pinning == image.PinByName {
		pinAt = filepath.Join("/sys/fs/bpf", m.Name)
		if old, err := linux.OpenPinned(pinAt); err == nil {
			l.Maps[i] = old.AsMap()
			l.mine = append(l.mine, l.Maps[i])
			return sameShape(m, old, pinAt)
		} else if !errors.Is(err, errno.ENOENT) {
			return fmt.Errorf("%s: %w", pinAt, err)
		}
	}
	if m.Type == catalog.MapPerfEventArray {
		ifindex = 0
	}
	k, err := linuxload.NewMap(m, m.Def(cpus), l.btf, ifindex)
	if err != nil {
		return err
	}
	l.Maps[i] = k
	l.mine = append(l.mine, k)
	if pinAt != "" {
		return v.PinAt(k.FD(), pinAt)
	}
	return nil
}

// sameShape refuses a pinned map that is not what the object wants.
func sameShape(m *image.Map, old *linux.Object, path string) error {
	info, err := old.Map()
	if err != nil {
		return err
	}
	if info.Type != m.Type || info.KeySize != m.KeySize || info.ValueSize != m.ValueSize || info.MaxEntries != m.MaxEntries {
		return fmt.Errorf("%s: another map is pinned there: %s, key %d, value %d, entries %d", path, MapType(info.Type), info.KeySize, info.ValueSize, info.MaxEntries)
	}
	return nil
}

// fillPrograms puts programs where arrays start with them.
func (l *Loaded) fillPrograms() error {
	for i, m := range l.Image.Maps {
		for _, slot := range m.Slots {
			for n, p := range l.Image.Programs {
				if p != slot.Prog || slot.Prog == nil || l.Progs[n] == nil {
					continue
				}
				if err := linuxload.Put(l.Image, l.Maps[i], slot.Key, l.Progs[n].FD()); err != nil {
					return fmt.Errorf("map %s: %w", m.Name, err)
				}
			}
		}
	}
	return nil
}

// logAll is the log level of -d: branches, states, statistics.
const logAll = 7

func (l *Loaded) load(v *Verb, p *image.Program, o *LoadOptions) (*linux.LoadedProg, error) {
	if p.Err != nil {
		return nil, p.Err
	}
	lp := linuxload.Prog(l.Image, p, l.Maps, l.btf)
	lp.Flags, lp.Insns, lp.IfIndex = p.Flags|o.Flags, l.byDescriptor(p.Insns), o.IfIndex
	if o.Kind != nil {
		lp.Type, lp.Attach = o.Kind.Type, o.Section.Attach
	}
	switch lp.Type {
	case catalog.ProgUnspec:
		return nil, fmt.Errorf("section %q does not say what type of program this is: give type TYPE", p.Section)
	case catalog.ProgExt:
		return nil, errors.New("what it replaces has to be named when it is loaded, which bpftool has no words for either")
	case catalog.ProgTracing, catalog.ProgLSM, catalog.ProgStructOps:
		if err := l.kernelTypes(); err != nil {
			return nil, err
		}
		lp.AttachTo(l.kernel, p.AttachTo)
	}
	if v.Debug {
		lp.LogLevel = logAll
	}
	k, err := linux.Load(lp)
	if v.Debug {
		log := ""
		if e := (*linux.Error)(nil); errors.As(err, &e) {
			log = e.Log
		} else if k != nil {
			log = k.Log
		}
		fmt.Fprintf(v.UI.Err, "%s:\n%s", p.Name, log)
	}
	return k, err
}

// kernelTypes reads the kernel's types, once.
func (l *Loaded) kernelTypes() (err error) {
	if l.kernel == nil {
		l.kernel, err = btf.LoadKernelSpec()
	}
	return err
}

// byDescriptor has instructions refer to maps by descriptors, as those libbpf
// loads do: the tag depends on how, not on which.
func (l *Loaded) byDescriptor(insns []isa.Instruction) []isa.Instruction {
	insns = slices.Clone(insns)
	for i := range insns {
		ins := &insns[i]
		if !ins.IsLoadImm64() || int(ins.Imm) >= len(l.Maps) || ins.Imm < 0 || l.Maps[ins.Imm] == nil {
			continue
		}
		switch ins.Src {
		case isa.PseudoMapIdx:
			ins.Src, ins.Imm = isa.PseudoMapFD, int32(l.Maps[ins.Imm].FD())
		case isa.PseudoMapIdxValue:
			ins.Src, ins.Imm = isa.PseudoMapValue, int32(l.Maps[ins.Imm].FD())
		}
	}
	return insns
}

// bindConstants has a program keep the object's constants, which say what it is
// (skep prog show's metadata).
func (l *Loaded) bindConstants(p *linux.LoadedProg) error {
	for i, m := range l.Image.Maps {
		if m.Kind == image.KindRodata && l.Maps[i] != nil {
			if err := p.Bind(l.Maps[i]); err != nil && !errors.Is(err, errno.EEXIST) {
				return err
			}
		}
	}
	return nil
}

// Pins remembers the names that were made, to take them away should a later one fail.
type Pins struct {
	v     *Verb
	paths []string
}

// NewPins begins.
func (v *Verb) NewPins() *Pins { return &Pins{v: v} }

// Pin gives a descriptor's object a name.
func (p *Pins) Pin(fd int, path string) error {
	err := p.v.PinAt(fd, path)
	if err == nil {
		p.paths = append(p.paths, path)
	}
	return err
}

// Mkdir makes a directory for names, if it is not there.
func (p *Pins) Mkdir(dir string) error {
	if p.v.Live {
		if err := linux.MountForPin(filepath.Dir(dir), !p.v.NoMount); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		p.paths = append(p.paths, dir)
	}
	return err
}

// Undo takes all names away.
func (p *Pins) Undo() {
	for i := len(p.paths) - 1; i >= 0; i-- {
		os.Remove(p.paths[i]) // what cannot be removed was not worth more
	}
}

// PinMaps gives all maps names in a directory, as libbpf does: dots become underscores.
func (l *Loaded) PinMaps(p *Pins, dir string) error {
	if err := p.Mkdir(dir); err != nil {
		return err
	}
	for i, m := range l.Image.Maps {
		if l.Maps[i] == nil || m.Pinning == image.PinByName {
			continue
		}
		if err := p.Pin(l.Maps[i].FD(), filepath.Join(dir, strings.ReplaceAll(PinName(m), ".", "_"))); err != nil {
			return err
		}
	}
	return nil
}

// PinName is the name libbpf pins a map by: that of a section of global data has
// the object's before it, but for sections with a name of their own (.data.x).
func PinName(m *image.Map) string {
	if m.Kind == image.KindDefined || strings.Contains(strings.TrimPrefix(m.Name, "."), ".") {
		return m.Name
	}
	return m.KernelName
}

// AutoAttach attaches a program to what its section names, where that is a
// thing for bpf(2) alone; nil without error where it is not.
func (l *Loaded) AutoAttach(i int) (*linux.Object, error) {
	p, k := l.Image.Programs[i], l.Progs[i]
	switch p.Type {
	case catalog.ProgRawTracepoint, catalog.ProgRawTracepointWritable:
		if p.AttachTo == "" {
			return nil, nil
		}
		return k.Open(p.AttachTo)
	case catalog.ProgTracing:
		if p.Attach == catalog.AttachTraceIter {
			return k.Link(catalog.AttachTraceIter, linux.LinkOptions{})
		}
		return k.Open("")
	case catalog.ProgLSM:
		if p.Attach == catalog.AttachLSMMAC {
			return k.Open("")
		}
	}
	return nil, nil
}

// TypeByName finds a program type by what libbpf calls it: a section's name, with or without a slash behind it.
func TypeByName(name string) (*catalog.ProgKind, *catalog.Section, error) {
	for _, section := range []string{name, name + "/"} {
		if k, s := catalog.ProgKindBySection(section); k != nil {
			return k, s, nil
		}
	}
	return nil, nil, ui.Usagef("type %q: there is no such program type: see skep feature programs", name)
}
