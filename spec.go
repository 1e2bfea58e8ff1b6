package skep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/marshal"
	"github.com/skep-bpf/skep/isa"
)

// FromCollectionSpec turns what cilium/ebpf (or bpf2go's generated code) read
// from an object into an image, with the changes made to it since: maps resized,
// variables set, programs removed. CO-RE relocations are applied against kernel, or the
// running kernel's types if it is nil.
//
// Externs in .kconfig cannot be followed through a CollectionSpec, which keeps
// them to itself; load the object with [Machine.LoadCollectionFile] instead.
func FromCollectionSpec(spec *ebpf.CollectionSpec, kernel *btf.Spec) (*image.Image, error) {
	a := specAdapter{spec: spec, kernel: kernel, img: &image.Image{
		Name: "the collection spec", ByteOrder: hostOrder(), BTF: spec.Types,
	}}
	a.index = make(map[string]int)
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		m, err := a.convertMap(name, spec.Maps[name])
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
		a.index[name] = len(a.img.Maps)
		a.img.Maps = append(a.img.Maps, m)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
		p, err := a.convertProgram(name, spec.Programs[name])
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		a.img.Programs = append(a.img.Programs, p)
		a.img.License = spec.Programs[name].License
	}
	for name, ms := range spec.Maps {
		if err := a.fillSlots(a.img.Maps[a.index[name]], ms); err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
	}
	return a.img, nil
}

// hostOrder is the machine's byte order as one of the two values that
// cilium/ebpf compares with.
func hostOrder() binary.ByteOrder {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

type specAdapter struct {
	spec   *ebpf.CollectionSpec
	kernel *btf.Spec
	img    *image.Image
	index  map[string]int // of a map in img.Maps
}

// dataKinds are cilium/ebpf's names of data sections' maps.
var dataKinds = map[string]image.MapKind{
	".data": image.KindData, ".bss": image.KindBSS, ".rodata": image.KindRodata, ".kconfig": image.KindKconfig,
}

func (a *specAdapter) convertMap(name string, ms *ebpf.MapSpec) (*image.Map, error) {
	m := &image.Map{
		Name: name, KernelName: kernelName(ms.Name),
		Type: catalog.MapType(ms.Type), KeySize: ms.KeySize, ValueSize: ms.ValueSize,
		MaxEntries: ms.MaxEntries, Flags: ms.Flags, Extra: ms.MapExtra, NUMANode: ms.NumaNode,
		Pinning: image.Pinning(ms.Pinning), Key: ms.Key, Value: ms.Value,
	}
	if ms.Extra != nil && ms.Extra.Len() > 0 {
		return nil, fmt.Errorf("%d bytes of the definition are not understood", ms.Extra.Len())
	}
	if ms.InnerMap != nil {
		inner, err := a.convertMap(ms.InnerMap.Name, ms.InnerMap)
		if err != nil {
			return nil, err
		}
		m.Inner = inner
	}
	if m.Type == catalog.MapStructOps {
		typ, ok := btf.UnderlyingType(ms.Value).(*btf.Struct)
		if !ok || len(ms.Contents) != 1 {
			return nil, errors.New("struct_ops are one value, of a struct")
		}
		var err error
		m.Kind, m.StructOps = image.KindStructOps, &image.StructOps{Type: typ}
		m.Data, err = marshal.Append(nil, ms.Contents[0].Value, int(ms.ValueSize))
		return m, err
	}
	section := "." + strings.SplitN(strings.TrimPrefix(name, "."), ".", 2)[0]
	kind, isData := dataKinds[section]
	if !isData || !strings.HasPrefix(name, ".") {
		return m, nil
	}
	m.Kind = kind
	if len(ms.Contents) == 1 {
		data, err := marshal.Append(nil, ms.Contents[0].Value, int(ms.ValueSize))
		if err != nil {
			return nil, err
		}
		m.Data = data
	}
	for _, v := range a.spec.Variables {
		if v.SectionName == name && m.Data != nil {
			copy(m.Data[v.Offset:], v.Value)
		}
	}
	m.Freeze = kind == image.KindRodata || kind == image.KindKconfig
	return m, nil
}

// kernelName is a name bpf(2) takes: the first of the bytes it allows.
func kernelName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && catalog.NameByte(byte(r)) {
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), catalog.ObjNameLen-1)]
}

// fillSlots carries over the initial content of program arrays and maps of
// maps, which cilium/ebpf gives by name, and of other maps, by value.
func (a *specAdapter) fillSlots(m *image.Map, ms *ebpf.MapSpec) error {
	if m.Kind == image.KindStructOps {
		return a.fillOps(m)
	}
	if m.Kind != image.KindDefined {
		return nil
	}
	for _, kv := range ms.Contents {
		key, ok := kv.Key.(uint32)
		ref, ok2 := kv.Value.(string)
		if !ok || !ok2 {
			return fmt.Errorf("initial content of type %T is not taken; update the map after loading", kv.Value)
		}
		slot := image.Slot{Key: key}
		if i, found := a.index[ref]; found {
			slot.Map = a.img.Maps[i]
		} else if slot.Prog = a.img.Program(ref); slot.Prog == nil {
			return fmt.Errorf("slot %d names %s, which the collection has not", key, ref)
		}
		m.Slots = append(m.Slots, slot)
	}
	return nil
}

// fillOps ties the members of a struct_ops map to programs, of which cilium/ebpf only says which member they are for.
func (a *specAdapter) fillOps(m *image.Map) error {
	for _, member := range m.StructOps.Type.Members {
		if !catalog.IsFunc(member.Type) {
			continue
		}
		var found *image.Program
		for _, p := range a.img.Programs {
			if p.Type != catalog.ProgStructOps || p.AttachTo != m.StructOps.Name()+":"+member.Name {
				continue
			}
			if found != nil {
				return fmt.Errorf("programs %s and %s both implement %s, and the collection does not say which for this map", found.Name, p.Name, p.AttachTo)
			}
			found = p
		}
		if found != nil {
			m.StructOps.Members = append(m.StructOps.Members, image.StructOpsMember{Name: member.Name, Off: member.Offset.Bytes(), Prog: found})
		}
	}
	return nil
}

func (a *specAdapter) convertProgram(name string, ps *ebpf.ProgramSpec) (*image.Program, error) {
	p := &image.Program{
		Name: name, Section: ps.SectionName,
		Type: catalog.ProgType(ps.Type), Attach: catalog.AttachType(ps.AttachType),
		AttachTo: ps.AttachTo, Flags: ps.Flags,
	}
	insns := slices.Clone(ps.Instructions)
	if err := a.relocate(insns); err != nil {
		return nil, err
	}
	iter := insns.Iterate()
	for iter.Next() {
		ins, slot := iter.Ins, int(iter.Offset)
		if err := a.reference(ins, slot); err != nil {
			return nil, err
		}
		if fn := btf.FuncMetadata(ins); fn != nil {
			id, err := a.spec.Types.TypeID(fn)
			if err != nil {
				return nil, err
			}
			p.Funcs = append(p.Funcs, image.FuncInfo{Slot: slot, Func: fn, ID: id})
		}
		if line, ok := ins.Source().(*btf.Line); ok {
			p.Lines = append(p.Lines, image.LineInfo{
				Slot: slot, File: line.FileName(), Line: line.Line(),
				LineNo: int(line.LineNumber()), Column: int(line.LineColumn()),
			})
		}
	}
	var buf bytes.Buffer
	if err := insns.Marshal(&buf, a.img.ByteOrder); err != nil {
		return nil, err
	}
	var err error
	p.Insns, err = isa.Decode(buf.Bytes(), a.img.ByteOrder)
	return p, err
}

// relocate applies CO-RE relocations in place.
func (a *specAdapter) relocate(insns asm.Instructions) error {
	var relos []*btf.CORERelocation
	var at []*asm.Instruction
	for i := range insns {
		if r := btf.CORERelocationMetadata(&insns[i]); r != nil {
			relos, at = append(relos, r), append(at, &insns[i])
		}
	}
	if len(relos) == 0 {
		return nil
	}
	kernel := a.kernel
	if kernel == nil {
		var err error
		if kernel, err = btf.LoadKernelSpec(); err != nil {
			return fmt.Errorf("CO-RE relocations need kernel types: %w", err)
		}
	}
	fixups, err := btf.CORERelocate(relos, []*btf.Spec{kernel}, a.img.ByteOrder, a.spec.Types.TypeID)
	if err != nil {
		return err
	}
	for i := range fixups {
		if err := fixups[i].Apply(at[i]); err != nil {
			return fmt.Errorf("%v: %w", relos[i], err)
		}
	}
	return nil
}

// reference turns a symbolic reference into the number bpf(2) takes: an index of
// a map, a kfunc's BTF id.
func (a *specAdapter) reference(ins *asm.Instruction, slot int) error {
	ref := ins.Reference()
	switch {
	case ins.IsLoadFromMap():
		i, ok := a.index[ref]
		if !ok {
			if ref == "" {
				return fmt.Errorf("insn %d: a .kconfig extern or bare map descriptor is not followed through a CollectionSpec", slot)
			}
			return fmt.Errorf("insn %d: no map %s in the collection", slot, ref)
		}
		ins.Src += asm.Register(isa.PseudoMapIdx - isa.PseudoMapFD)
		ins.Constant = ins.Constant&^0xffffffff | int64(uint32(i))
	case ins.IsKfuncCall():
		kernel := a.kernel
		if kernel == nil {
			var err error
			if kernel, err = btf.LoadKernelSpec(); err != nil {
				return fmt.Errorf("insn %d: kfunc %s needs kernel types: %w", slot, ref, err)
			}
		}
		var fn *btf.Func
		if err := kernel.TypeByName(ref, &fn); err != nil {
			if errors.Is(err, btf.ErrNotFound) {
				return fmt.Errorf("insn %d: kfunc %s: not in the kernel's types", slot, ref)
			}
			return err
		}
		id, err := kernel.TypeID(fn)
		if err != nil {
			return err
		}
		ins.Constant, ins.Offset = int64(id), 0
	}
	return nil
}
