package objects

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
)

// StructOpsPrefix is what the kernel's types of struct_ops maps' values have before
// the interface's name.
const StructOpsPrefix = "bpf_struct_ops_"

// opsType is an interface as the kernel has it.
type opsType struct {
	ops   *btf.Struct // the interface
	value *btf.Struct // what the map's value is: a state, and the interface's members
	id    btf.TypeID  // of value
	at    uint32      // where the members begin in the value, in bytes
}

// structOps finds the kernel's types for an object's map.
func (l *Loaded) structOps(m *image.Map) (*opsType, error) {
	if err := l.kernelTypes(); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(m.StructOps.Type.Name, "___")
	t := &opsType{}
	if l.kernel.TypeByName(name, &t.ops) != nil || l.kernel.TypeByName(StructOpsPrefix+name, &t.value) != nil {
		return nil, fmt.Errorf("this kernel has no interface %s that programs can implement", name)
	}
	var err error
	if t.id, err = l.kernel.TypeID(t.value); err != nil {
		return nil, err
	}
	for _, member := range t.value.Members {
		if btf.UnderlyingType(member.Type) == btf.Type(t.ops) {
			t.at = member.Offset.Bytes()
			return t, nil
		}
	}
	return nil, fmt.Errorf("struct %s%s has no struct %s in it", StructOpsPrefix, name, name)
}

// makeStructOps makes the map of an interface's implementation, still empty.
func (l *Loaded) makeStructOps(i int) error {
	m := l.Image.Maps[i]
	t, err := l.structOps(m)
	if err != nil {
		return err
	}
	def := &catalog.MapDef{Name: m.KernelName, Type: m.Type, KeySize: 4, ValueSize: t.value.Size, MaxEntries: 1, Flags: m.Flags}
	k, err := linux.NewMap(def, &linux.MapOptions{BTF: l.btf, VmlinuxValueID: t.id})
	if err != nil {
		return err
	}
	l.Maps[i] = k
	l.mine = append(l.mine, k)
	return nil
}

// Register puts an implementation of an interface in its map, which makes it
// known to the kernel, or, where the map says so, the link that it returns does.
func (l *Loaded) Register(i int) (*linux.Object, error) {
	m := l.Image.Maps[i]
	t, err := l.structOps(m)
	if err != nil {
		return nil, err
	}
	value, err := l.opsValue(m, t)
	if err != nil {
		return nil, err
	}
	if err := l.Maps[i].Update(make([]byte, 4), value, 0); err != nil {
		return nil, err
	}
	if m.Flags&catalog.FlagLink == 0 {
		return nil, nil
	}
	return l.Maps[i].Link(catalog.AttachStructOps)
}

// opsValue carries the object's members over into the kernel's layout, by their
// names; functions are descriptors of programs there. What the kernel does not
// have may be left out if it is zero (libbpf: bpf_map__init_kern_struct_ops).
func (l *Loaded) opsValue(m *image.Map, t *opsType) ([]byte, error) {
	value := make([]byte, t.value.Size)
	for _, mine := range m.StructOps.Type.Members {
		size, err := btf.Sizeof(mine.Type)
		off := int(mine.Offset.Bytes())
		if err != nil || off+size > len(m.Data) {
			return nil, fmt.Errorf("member %s: it has no size", mine.Name)
		}
		data := m.Data[off : off+size]
		prog := l.opOf(m, uint32(off))
		theirs := memberNamed(t.ops, mine.Name)
		if theirs == nil {
			if prog != nil || len(bytes.Trim(data, "\x00")) > 0 {
				return nil, fmt.Errorf("member %s: the kernel's struct %s has none of that name", mine.Name, t.ops.Name)
			}
			continue
		}
		want, err := btf.Sizeof(theirs.Type)
		if err != nil || want != size || mine.BitfieldSize != theirs.BitfieldSize {
			return nil, fmt.Errorf("member %s: it is not of the size that the kernel's struct %s has for it", mine.Name, t.ops.Name)
		}
		to := value[t.at+theirs.Offset.Bytes():]
		switch {
		case prog != nil:
			binary.NativeEndian.PutUint64(to, uint64(prog.FD()))
		case mine.BitfieldSize != 0 && len(bytes.Trim(data, "\x00")) > 0:
			return nil, fmt.Errorf("member %s: bit fields cannot be carried over", mine.Name)
		case mine.BitfieldSize == 0:
			copy(to, data)
		}
	}
	return value, nil
}

// opOf is the program that a member at an offset of the object's struct points to, or nil.
func (l *Loaded) opOf(m *image.Map, off uint32) *linux.LoadedProg {
	for _, op := range m.StructOps.Members {
		if op.Off != off {
			continue
		}
		for i, p := range l.Image.Programs {
			if p == op.Prog {
				return l.Progs[i]
			}
		}
	}
	return nil
}

func memberNamed(s *btf.Struct, name string) *btf.Member {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return &s.Members[i]
		}
	}
	return nil
}

// RefusedOps says what the kernel's numbers mean for an implementation of an interface.
var RefusedOps = map[errno.Errno]string{
	errno.EINVAL: "the interface wants other members set, or others than these",
	errno.EEXIST: "there is one of that name",
}
