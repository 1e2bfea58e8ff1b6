package image

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
)

// LoadFile links the object in a file.
func LoadFile(path string, opts *Options) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Load(f, path, opts)
}

// Load links the object that rd gives. The file's name is for errors and for
// the object's name. Every error is an [*Error] around a sentinel of this
// package; what concerns single programs is in their Err.
func Load(rd io.ReaderAt, file string, opts *Options) (img *Image, err error) {
	// debug/elf and btf are fuzzed, but not written for hostile files: whatever
	// they trip over in one is the file's fault, not a reason to end the process.
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(runtime.Error)
			if !ok {
				panic(r)
			}
			img, err = nil, &Error{File: file, Slot: -1, Err: fmt.Errorf("%w: %v", ErrTruncated, e)}
		}
	}()
	name := objectName(file)
	if opts != nil && opts.Name != "" {
		name = opts.Name
	}
	img, err = load(rd, name, newTarget(opts))
	if err != nil {
		return nil, inFile(file, err)
	}
	for _, p := range img.Programs {
		if p.Err != nil {
			p.Err = inFile(file, p.Err)
		}
	}
	return img, nil
}

// objectName is the file's name up to its first dot, as libbpf has it.
func objectName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

func load(rd io.ReaderAt, name string, target *target) (*Image, error) {
	obj, err := openELF(rd)
	if err != nil {
		return nil, err
	}
	img := &Image{Name: name, ByteOrder: obj.order}
	if err := obj.readLicense(img); err != nil {
		return nil, err
	}
	types, err := obj.loadTypes()
	if err != nil {
		return nil, err
	}
	externs, err := obj.loadExterns(types)
	if err != nil {
		return nil, err
	}
	if types != nil {
		if err := types.finish(img, externs); err != nil {
			return nil, err
		}
	}
	maps, err := obj.loadMaps(name, types, externs)
	if err != nil {
		return nil, err
	}
	code, err := obj.loadCode()
	if err != nil {
		return nil, err
	}
	if err := externs.resolve(obj.order, target); err != nil {
		return nil, err
	}
	relocateCORE(code, types, target)

	l := &linker{obj: obj, types: types, code: code, maps: maps, externs: externs}
	l.indexRelocs()
	if err := l.linkAll(img); err != nil {
		return nil, err
	}
	img.Maps, img.Externs = maps.list, externs.list
	return img, nil
}

// readLicense reads sections "license" and "version".
func (o *object) readLicense(img *Image) error {
	if sec := o.byName("license"); sec != nil {
		data, err := o.content(sec)
		if err != nil {
			return err
		}
		img.License, _, _ = strings.Cut(string(data), "\x00")
	}
	if sec := o.byName("version"); sec != nil {
		data, err := o.content(sec)
		if err != nil {
			return err
		}
		if len(data) != 4 {
			return at(sec.Name, "", ErrTruncated, "%d bytes, want 4", len(data))
		}
		img.KernelVersion = o.order.Uint32(data)
	}
	return nil
}

// finish lays out the externs in the types and publishes these.
func (t *objectTypes) finish(img *Image, externs *externTable) (err error) {
	if len(externs.data) > 0 {
		externs.layoutKconfig(t.raw)
		if t.spec, err = specOf(t.raw); err != nil {
			return err
		}
	}
	img.BTF = t.spec
	hideKsyms(t.raw)
	img.RawBTF = t.raw.Bytes()
	return nil
}

// linkAll makes the image's programs and what refers to them.
func (l *linker) linkAll(img *Image) error {
	programs := map[*function]*Program{}
	for _, f := range l.code.funcs {
		if !f.entry {
			continue
		}
		p := newProgram(f)
		if m, key, ok := l.maps.tailCallSlot(p.Section); ok && p.Type == catalog.ProgUnspec {
			p.Type = catalog.ProgSchedCls
			m.Slots = append(m.Slots, Slot{Key: key, Prog: p})
		}
		programs[f] = p
		img.Programs = append(img.Programs, p)
		l.link(p, f)
	}
	if err := l.linkSlots(programs); err != nil {
		return err
	}
	typeLegacyMaps(l.maps.list, l.types)
	return l.linkStructOps(programs)
}

// newProgram describes an entry function by its section's name.
func newProgram(f *function) *Program {
	section, optional := strings.CutPrefix(f.sec.Name, "?")
	p := &Program{Name: f.name, Section: section, Optional: optional}
	p.classify()
	return p
}
