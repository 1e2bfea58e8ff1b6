package objects

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/btfdump"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// typesOf is a BTF that was asked for once.
type typesOf struct {
	btf *rawbtf.BTF
	err error
}

// vmlinuxPath are the running kernel's own types.
const vmlinuxPath = "/sys/kernel/btf/vmlinux"

// VmlinuxID stands for the kernel's own types, which have an id of their own only for some.
const VmlinuxID = 0

// Types returns the BTF with an id. That of a kernel module builds on the kernel's.
func (v *Verb) Types(id uint32) (*rawbtf.BTF, error) {
	if t := v.types[id]; t != nil {
		return t.btf, t.err
	}
	t := &typesOf{}
	v.types[id] = t
	t.btf, t.err = v.loadTypes(id)
	return t.btf, t.err
}

func (v *Verb) loadTypes(id uint32) (*rawbtf.BTF, error) {
	if id == VmlinuxID {
		blob, err := os.ReadFile(vmlinuxPath)
		if err != nil {
			return nil, err
		}
		return btfdump.Load(blob, nil)
	}
	o, err := linux.OpenID(linux.KindBTF, id)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	info, blob, err := o.Types()
	if err != nil {
		return nil, err
	}
	var base *rawbtf.BTF
	if info.Kernel && info.Name != "vmlinux" {
		if base, err = v.Types(VmlinuxID); err != nil {
			return nil, err
		}
	}
	return btfdump.Load(blob, base)
}

// FullName is a program's name, that of its first function where bpf(2) cut it.
func (v *Verb) FullName(info *linux.ProgInfo) string {
	if len(info.Name) < 15 {
		return info.Name
	}
	if f := v.Func(info, 0); f != "" {
		return f
	}
	return info.Name
}

// Func is the name of a program's n-th function, "" where it is not known.
func (v *Verb) Func(info *linux.ProgInfo, n int) string {
	b, id := v.FuncType(info, n)
	if b == nil || b.Kind(id) != rawbtf.KindFunc {
		return ""
	}
	return b.Name(id)
}

// FuncType is the type of a program's n-th function; nil where it is not known.
func (v *Verb) FuncType(info *linux.ProgInfo, n int) (*rawbtf.BTF, int) {
	size := int(info.FuncInfoSize)
	if size < 8 || len(info.FuncInfo) < (n+1)*size || info.BTFID == 0 {
		return nil, 0
	}
	id := binary.NativeEndian.Uint32(info.FuncInfo[n*size+4:])
	b, err := v.Types(info.BTFID)
	if err != nil || !b.Valid(id) {
		return nil, 0
	}
	return b, int(id)
}

// MapType and ProgType are the names of types, "" for those that have none here.
func MapType(t catalog.MapType) string {
	if k := catalog.MapKindByType(t); k != nil {
		return k.Name
	}
	return ""
}

// ProgType is described with MapType.
func ProgType(t catalog.ProgType) string {
	if k := catalog.ProgKindByType(t); k != nil {
		return k.Name
	}
	return ""
}

// linkTypes are the names of enum bpf_link_type, from 1.
var linkTypes = [...]string{
	"raw_tracepoint", "tracing", "cgroup", "iter", "netns", "xdp", "perf_event", "kprobe_multi", "struct_ops",
	"netfilter", "tcx", "uprobe_multi", "netkit", "sockmap",
}

// LinkTypes are the names of all types of links, by number, from 1.
func LinkTypes() []string { return linkTypes[:] }

// LinkType is the name of a type of links, "" where there is none.
func LinkType(t uint32) string {
	if t == 0 || t > uint32(len(linkTypes)) {
		return ""
	}
	return linkTypes[t-1]
}

// Names are the paths objects of a kind are pinned at, by id.
type Names map[uint32][]string

// PinnedNames walks all BPF file systems, where the command line asks for it; else nil.
func (v *Verb) PinnedNames(k linux.Kind) Names {
	if !v.Pinned {
		return nil
	}
	names := Names{}
	for _, root := range v.bpfMounts() {
		names.walk(root, k)
	}
	return names
}

// bpfMounts are the BPF file systems; a machine has one.
func (v *Verb) bpfMounts() []string {
	if !v.Live {
		return []string{"/sys/fs/bpf"}
	}
	text, _ := os.ReadFile("/proc/mounts")
	var dirs []string
	for line := range strings.Lines(string(text)) {
		// One that is mounted over another is there once.
		if f := strings.Fields(line); len(f) > 2 && f[2] == "bpf" && !slices.Contains(dirs, MountPoint(f[1])) {
			dirs = append(dirs, MountPoint(f[1]))
		}
	}
	return dirs
}

// MountPoint is a directory as /proc/mounts has it.
func MountPoint(field string) string { return unescapeMount.Replace(field) }

// unescapeMount undoes what /proc/mounts does to blanks in paths.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func (n Names) walk(dir string, k linux.Kind) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // not ours to read
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			n.walk(path, k)
		case e.Type().IsRegular():
			n.add(path, k)
		}
	}
}

func (n Names) add(path string, k linux.Kind) {
	o, err := linux.OpenPinned(path)
	if err != nil {
		return // the kernel's own files, and those of others
	}
	defer o.Close()
	if o.Kind() != k {
		return
	}
	if id, err := ID(o); err == nil {
		n[id] = append(n[id], path)
	}
}

// Pins shows where an object is pinned.
func (v *Verb) Pins(names Names, id uint32) {
	if len(names) == 0 {
		return
	}
	if v.J == nil {
		for _, path := range names[id] {
			v.Printf("\n\tpinned %s", ui.Printable(path))
		}
		return
	}
	v.J.Name("pinned")
	v.J.Array()
	for _, path := range names[id] {
		v.J.String(path)
	}
	v.J.EndArray()
}

// PinAt gives an object a name, in a BPF file system that is mounted for it if need be.
func (v *Verb) PinAt(fd int, path string) error {
	if v.Live {
		if err := linux.MountForPin(filepath.Dir(path), !v.NoMount); err != nil {
			return err
		}
	}
	if err := linux.Pin(fd, path); err != nil {
		err = &os.PathError{Op: "pin", Path: path, Err: err}
		if !v.Live && errors.Is(err, errno.EPERM) && !strings.HasPrefix(filepath.Clean(path)+"/", "/sys/fs/bpf/") {
			err = fmt.Errorf("%w: a machine's names begin with /sys/fs/bpf/", err)
		}
		return err
	}
	return nil
}

// Show shows the objects that the words name, by named, or all of a kind, each by one.
func (v *Verb) Show(k linux.Kind, named func() ([]*linux.Object, error), one func(*Verb, *linux.Object, Names) error) error {
	names := v.PinnedNames(k)
	if v.Len() == 0 {
		if v.J != nil {
			v.J.Array()
			defer v.J.EndArray()
		}
		return Each(k, func(_ uint32, o *linux.Object) (bool, error) { return false, one(v, o, names) })
	}
	list, err := named()
	if err != nil {
		return err
	}
	if err := v.End(); err != nil {
		return err
	}
	if v.J != nil && len(list) > 1 {
		v.J.Array()
		defer v.J.EndArray()
	}
	for _, o := range list {
		if err := one(v, o, names); err != nil {
			return err
		}
		o.Close()
	}
	return nil
}

// Pin gives an object, which it closes, the name that is the last word.
func (v *Verb) Pin(o *linux.Object) error {
	defer o.Close()
	path, err := v.Next("FILE")
	if err != nil {
		return err
	}
	if err := v.End(); err != nil {
		return err
	}
	if err := v.PinAt(o.FD(), path); err != nil {
		return err
	}
	return v.Done()
}
