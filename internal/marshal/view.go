package marshal

import (
	"encoding"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// View finds the memory of Go values whose bytes need no turning: byte slices,
// strings, and numbers, arrays and structs without padding, as they are or by a pointer.
// It remembers the type it saw last. Safe for concurrent use.
//
// It is sound because a value in an interface is never written, those who write go by
// [View.Room], and the bytes are used only while the caller's value is alive.
type View struct {
	Size int // of the bytes wanted
	// CPUs is, where there is a value for each CPU, how many those are, and Each the bytes of one, which Size has
	// rounded up to 8. They are a byte slice, or one of as many elements where there is no padding. 0: it is one value.
	CPUs, Each int
	last       atomic.Pointer[form]
}

// form is what there is to know of a type.
type form struct {
	typ  unsafe.Pointer // as an interface has it
	size uintptr        // of values and what pointers lead to
	kind formKind
	elem uintptr // of a slice, the size of an element without padding; else 0
}

type formKind uint8

const (
	turned  formKind = iota // it has to be turned into bytes
	value                   // a value, which the interface points at
	pointer                 // a pointer to one
	slice                   // []byte
	text                    // string
	slices                  // a slice of anything else, with elem
	toSlice                 // a pointer to one
)

// iface is how an any lies in memory.
type iface struct{ typ, data unsafe.Pointer }

// Bytes returns the memory of v, to be read. ok is false where v has to be
// turned, or has not the size wanted.
func (w *View) Bytes(v any) (b []byte, ok bool) {
	i := (*iface)(unsafe.Pointer(&v))
	f := w.last.Load()
	if f == nil || f.typ != i.typ {
		f = w.look(v)
	}
	switch f.kind {
	case pointer, value:
		return w.at(i.data, f)
	case slice:
		b = *(*[]byte)(i.data)
		return b, len(b) == w.Size
	case text:
		s := *(*string)(i.data)
		return unsafe.Slice(unsafe.StringData(s), len(s)), len(s) == w.Size && w.CPUs == 0
	case slices:
		return w.each(i.data, f)
	}
	return nil, false
}

// Room is Bytes to be written: v is a pointer or a byte slice.
func (w *View) Room(v any) (b []byte, ok bool) {
	i := (*iface)(unsafe.Pointer(&v))
	f := w.last.Load()
	if f == nil || f.typ != i.typ {
		f = w.look(v)
	}
	switch f.kind {
	case pointer:
		return w.at(i.data, f)
	case slice:
		b = *(*[]byte)(i.data)
		return b, len(b) == w.Size
	case slices, toSlice:
		return w.each(i.data, f)
	}
	return nil, false
}

// each returns the memory of a slice's elements, if there is one for each CPU and nothing between them.
func (w *View) each(p unsafe.Pointer, f *form) ([]byte, bool) {
	if p == nil || w.CPUs == 0 || f.elem != uintptr(w.Each) || w.Each*w.CPUs != w.Size {
		return nil, false
	}
	s := *(*[]byte)(p) // its length counts elements
	if len(s) != w.CPUs {
		return nil, false
	}
	return unsafe.Slice(unsafe.SliceData(s), w.Size), true
}

// at returns the memory of a value of the form, if that is of the size wanted.
func (w *View) at(p unsafe.Pointer, f *form) ([]byte, bool) {
	if p == nil || f.size != uintptr(w.Size) || w.CPUs != 0 {
		return nil, false
	}
	return unsafe.Slice((*byte)(p), w.Size), true
}

// look finds the form of a type that is not the last one.
func (w *View) look(v any) *form {
	f := formOf(v)
	w.last.Store(f)
	return f
}

// Slice returns the memory of a slice of n elements of size bytes each.
// ok is false where they have to be turned one by one.
func Slice(v any, size, n int) (b []byte, ok bool) {
	f := formOf(v)
	i := (*iface)(unsafe.Pointer(&v))
	if f.elem == 0 || f.elem != uintptr(size) {
		return nil, false
	}
	s := *(*[]byte)(i.data) // its length counts elements
	if len(s) != n {
		return nil, false
	}
	return unsafe.Slice(unsafe.SliceData(s), n*size), true
}

var forms sync.Map // *form by its typ

func formOf(v any) *form {
	typ := (*iface)(unsafe.Pointer(&v)).typ
	if f, ok := forms.Load(typ); ok {
		return f.(*form)
	}
	f := &form{typ: typ}
	f.classify(v)
	forms.Store(typ, f)
	return f
}

func (f *form) classify(v any) {
	switch v.(type) {
	case nil, encoding.BinaryMarshaler, encoding.BinaryUnmarshaler:
		return
	case []byte:
		f.kind, f.elem = slice, 1
		return
	case string:
		f.kind = text
		return
	}
	t := reflect.TypeOf(v)
	switch {
	case t.Kind() == reflect.Slice:
		if f.elem = elemOf(t); f.elem != 0 {
			f.kind = slices
		}
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Slice && !marshals(t.Elem()):
		if f.elem = elemOf(t.Elem()); f.elem != 0 {
			f.kind = toSlice
		}
	case t.Kind() == reflect.Pointer && plain(t.Elem()):
		f.kind, f.size = pointer, t.Elem().Size()
	case plain(t):
		f.kind, f.size = value, t.Size()
	}
}

// elemOf is the size of a slice's elements, if their memory is taken as it is; else 0.
func elemOf(t reflect.Type) uintptr {
	e := t.Elem()
	if !plain(e) || marshals(e) || marshals(reflect.PointerTo(e)) {
		return 0
	}
	return e.Size()
}

var (
	marshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	unmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

func marshals(t reflect.Type) bool { return t.Implements(marshaler) || t.Implements(unmarshaler) }

// plain reports whether the memory of a type's values is what encoding/binary
// makes of them in the machine's byte order, and any bytes are a value. A bool
// has only two.
func plain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return plain(t.Elem())
	case reflect.Struct:
		end := uintptr(0)
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name == "_" || f.Offset != end || !plain(f.Type) {
				return false
			}
			end += f.Type.Size()
		}
		return end == t.Size()
	}
	return false
}

// Scratch is room for a key and a value while an operation is under way.
type Scratch struct {
	Key, Value [128]byte
}

var scratches = sync.Pool{New: func() any { return new(Scratch) }}

// NewScratch takes room, which Free gives back.
func NewScratch() *Scratch { return scratches.Get().(*Scratch) }

// Free gives the room back.
func (s *Scratch) Free() { scratches.Put(s) }
