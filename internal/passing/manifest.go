// Package passing is what goes between two processes when maps and programs are
// passed: a message with open files, and in the first of them what the others are.
//
//	socket      │ "skep" │ version │ files │ 0 │  + the files, by SCM_RIGHTS
//	first file  the [Collection] as JSON, sealed: what was checked stays as it is
//	the others  maps, which say themselves what they are
//
// A message is 16 bytes on the socket, whatever is passed, so stream, datagram and packet sockets do alike.
package passing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// ErrMessage says that what came in is not a message, or one that cannot be.
var ErrMessage = errors.New("not a collection that another skep sent")

// Collection is everything that one message passes.
type Collection struct {
	Maps    []Map
	Objects []*Object
}

// Map is one map. Those without a name are there because programs use them.
type Map struct {
	Name string
	// Alias is the place, counted from 1, of a map before this one that it is another name of; 0: it is none.
	Alias int `json:",omitempty"`
	// File is the map's among the message's, 0 the first after the manifest.
	File  int
	Types *MapTypes `json:",omitempty"`
	// Jumps, if not nil, is what the map is in place of a file.
	Jumps *Jumps `json:",omitempty"`
}

// Jumps is a program array, which each process has for itself, with its own programs in it.
type Jumps struct {
	Name              string // the map's own
	MaxEntries, Flags uint32
	Programs          map[uint32]string // by their names in the collection
}

// MapTypes are the types of a map's keys and values, by their ids in BTF.
type MapTypes struct {
	BTF        []byte
	Key, Value btf.TypeID
}

// Object is programs that have types, licence and the numbers of their maps in common.
type Object struct {
	License  string
	BTF      []byte `json:",omitempty"`
	Maps     []int  // by the index in instructions; −1: none uses it
	Programs []Program
}

// Program is a program as it was before it was verified.
type Program struct {
	Name, Section string
	Type          catalog.ProgType
	Attach        catalog.AttachType
	AttachTo      string `json:",omitempty"`
	Flags         uint32 `json:",omitempty"`
	Insns         []byte
	Funcs         []Func `json:",omitempty"`
	Lines         []Line `json:",omitempty"`
}

// Func is where a function begins, and its type's id in the object's BTF.
type Func struct {
	Slot int
	ID   btf.TypeID
}

// Line is an [image.LineInfo].
type Line struct {
	Slot        int
	File, Line  string
	LineNo, Col int
}

// NewMapTypes takes down the types of a map; nil where it has none.
func NewMapTypes(key, value btf.Type) (*MapTypes, error) {
	if value == nil {
		return nil, nil
	}
	var t MapTypes
	b, err := btf.NewBuilder(nil, nil)
	if err == nil && key != nil {
		t.Key, err = b.Add(key)
	}
	if err == nil {
		t.Value, err = b.Add(value)
	}
	if err == nil {
		t.BTF, err = b.Marshal(nil, nil)
	}
	return &t, err
}

// Load returns the types.
func (t *MapTypes) Load() (key, value btf.Type, err error) {
	if t == nil {
		return nil, nil, nil
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(t.BTF))
	if err != nil {
		return nil, nil, err
	}
	if t.Key != 0 {
		if key, err = spec.TypeByID(t.Key); err != nil {
			return nil, nil, err
		}
	}
	value, err = spec.TypeByID(t.Value)
	return key, value, err
}

// NewObject takes down what programs of one image have in common; add takes down a program.
func NewObject(img *image.Image) (o *Object, add func(*image.Program) error, err error) {
	o = &Object{License: img.License, BTF: img.RawBTF}
	id := func(f image.FuncInfo) (btf.TypeID, error) { return f.ID, nil }
	if o.BTF == nil && img.BTF != nil {
		b, err := btf.NewBuilder(nil, nil)
		if err != nil {
			return nil, nil, err
		}
		for t, err := range img.BTF.All() {
			if err == nil {
				_, err = b.Add(t)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		if o.BTF, err = b.Marshal(nil, nil); err != nil {
			return nil, nil, err
		}
		id = func(f image.FuncInfo) (btf.TypeID, error) {
			if _, err := img.BTF.TypeID(f.Func); err != nil {
				return 0, err
			}
			return b.Add(f.Func) // what it was added as
		}
	}
	return o, func(p *image.Program) error {
		out := Program{Name: p.Name, Section: p.Section, Type: p.Type, Attach: p.Attach, AttachTo: p.AttachTo, Flags: p.Flags,
			Insns: isa.Encode(p.Insns, binary.NativeEndian)}
		for _, f := range p.Funcs {
			n, err := id(f)
			if err != nil {
				return err
			}
			out.Funcs = append(out.Funcs, Func{f.Slot, n})
		}
		for _, l := range p.Lines {
			out.Lines = append(out.Lines, Line{l.Slot, l.File, l.Line, l.LineNo, l.Column})
		}
		o.Programs = append(o.Programs, out)
		return nil
	}, nil
}

// Image makes an image of an object, without maps: those have been opened by then.
func (o *Object) Image(order binary.ByteOrder) (*image.Image, error) {
	img := &image.Image{Name: "another process", ByteOrder: order, License: o.License, RawBTF: o.BTF}
	if o.BTF != nil {
		var err error
		if img.BTF, err = btf.LoadSpecFromReader(bytes.NewReader(o.BTF)); err != nil {
			return nil, fmt.Errorf("%w: types: %w", ErrMessage, err)
		}
	}
	for _, p := range o.Programs {
		out := &image.Program{Name: p.Name, Section: p.Section, Type: p.Type, Attach: p.Attach, AttachTo: p.AttachTo, Flags: p.Flags}
		var err error
		if out.Insns, err = isa.Decode(p.Insns, order); err != nil {
			return nil, fmt.Errorf("%w: program %s: %w", ErrMessage, p.Name, err)
		}
		for _, f := range p.Funcs {
			fn, err := o.function(img.BTF, f.ID)
			if err != nil {
				return nil, fmt.Errorf("%w: program %s: %w", ErrMessage, p.Name, err)
			}
			out.Funcs = append(out.Funcs, image.FuncInfo{Slot: f.Slot, Func: fn, ID: f.ID})
		}
		for _, l := range p.Lines {
			out.Lines = append(out.Lines, image.LineInfo{Slot: l.Slot, File: l.File, Line: l.Line, LineNo: l.LineNo, Column: l.Col})
		}
		img.Programs = append(img.Programs, out)
	}
	return img, nil
}

func (o *Object) function(spec *btf.Spec, id btf.TypeID) (*btf.Func, error) {
	if spec == nil {
		return nil, errors.New("functions without types")
	}
	t, err := spec.TypeByID(id)
	if err != nil {
		return nil, err
	}
	f, ok := t.(*btf.Func)
	if !ok {
		return nil, fmt.Errorf("type %d is no function", id)
	}
	return f, nil
}

// Encode is the manifest as it stands in the first file.
func (c *Collection) Encode() ([]byte, error) { return json.Marshal(c) }

// Decode reads a manifest that came with a number of files. What it says of each file, of
// types and of programs is not looked at.
func Decode(b []byte, files int) (*Collection, error) {
	var c Collection
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	for i, m := range c.Maps {
		if m.Alias < 0 || m.Alias > i {
			return nil, fmt.Errorf("%w: map %q is another name of map %d", ErrMessage, m.Name, m.Alias)
		}
		if m.Jumps == nil && m.Alias == 0 && (m.File < 0 || m.File >= files) {
			return nil, fmt.Errorf("%w: map %q is file %d of %d", ErrMessage, m.Name, m.File, files)
		}
	}
	for _, o := range c.Objects {
		if o == nil {
			return nil, fmt.Errorf("%w: an object is missing", ErrMessage)
		}
		for _, i := range o.Maps {
			if i < -1 || i >= len(c.Maps) {
				return nil, fmt.Errorf("%w: map %d of %d", ErrMessage, i, len(c.Maps))
			}
		}
	}
	return &c, nil
}
