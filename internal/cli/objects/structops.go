package objects

import (
	"fmt"
	"slices"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/loadprog"
)

// StructOpsPrefix is what the kernel's types of struct_ops maps' values have before
// the interface's name.
const StructOpsPrefix = "bpf_struct_ops_"

// structOps finds the kernel's types for an object's map.
func (l *Loaded) structOps(m *image.Map) (*catalog.OpsDef, error) {
	if err := l.kernelTypes(); err != nil {
		return nil, err
	}
	d := catalog.OpsNamed(l.kernel, m.StructOps.Name())
	if d == nil {
		return nil, fmt.Errorf("this kernel has no interface %s that programs can implement", m.StructOps.Name())
	}
	return d, nil
}

// makeStructOps makes the map of an interface's implementation, still empty.
func (l *Loaded) makeStructOps(i int) error {
	m := l.Image.Maps[i]
	t, err := l.structOps(m)
	if err != nil {
		return err
	}
	def := &catalog.MapDef{Name: m.KernelName, Type: m.Type, KeySize: 4, ValueSize: t.Value.Size, MaxEntries: 1, Flags: m.Flags}
	k, err := linux.NewMap(def, &linux.MapOptions{BTF: l.btf, VmlinuxValueID: t.ValueID})
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
	value, err := loadprog.OpsValue(m, t, func(p *image.Program) (uint64, error) {
		i := slices.Index(l.Image.Programs, p)
		if l.Progs[i] == nil {
			return 0, fmt.Errorf("program %s is not loaded", p.Name)
		}
		return uint64(l.Progs[i].FD()), nil
	})
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

// RefusedOps says what the kernel's numbers mean for an implementation of an interface.
var RefusedOps = map[errno.Errno]string{
	errno.EINVAL: "the interface wants other members set, or others than these",
	errno.EEXIST: "there is one of that name",
}
