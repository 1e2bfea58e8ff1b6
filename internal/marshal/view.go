package marshal

import (
	"sync"
	"unsafe"
)

// View returns the memory of a value as the bytes it is made of, for values that
// need no turning: byte slices, and pointers to numbers of the machine's byte
// order. ok is false for all others, and where the size is not the one wanted.
//
// It is sound because the bytes are used only while the caller's v is alive, and
// numbers may be read and written as bytes.
func View(v any, size int) (b []byte, ok bool) {
	switch v := v.(type) {
	case []byte:
		b = v
	case *uint32:
		b = bytesOf(v)
	case *uint64:
		b = bytesOf(v)
	case *int32:
		b = bytesOf(v)
	case *int64:
		b = bytesOf(v)
	}
	return b, b != nil && len(b) == size
}

func bytesOf[T any](v *T) []byte {
	if v == nil {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
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
