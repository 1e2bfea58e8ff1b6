// Package marshal turns Go values into the bytes maps hold and back, with the
// rules of cilium/ebpf: encoding.BinaryMarshaler first, byte slices and strings
// as they are, fixed-size values in the machine's byte order without padding
// removed, everything encoding/binary takes.
package marshal

import (
	"encoding"
	"encoding/binary"
	"fmt"
	"reflect"
)

// Append appends v's bytes to dst and reports an error unless they are exactly size.
func Append(dst []byte, v any, size int) ([]byte, error) {
	n := len(dst)
	var err error
	switch v := v.(type) {
	case nil:
		return dst, fmt.Errorf("a nil value has no bytes, want %d", size)
	case encoding.BinaryMarshaler:
		var b []byte
		if b, err = v.MarshalBinary(); err != nil {
			return dst, fmt.Errorf("%T: %w", v, err)
		}
		dst = append(dst, b...)
	case []byte:
		dst = append(dst, v...)
	case string:
		dst = append(dst, v...)
	case uint32:
		dst = binary.NativeEndian.AppendUint32(dst, v)
	case uint64:
		dst = binary.NativeEndian.AppendUint64(dst, v)
	default:
		if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
			return dst, fmt.Errorf("a nil %T has no bytes, want %d", v, size)
		}
		if dst, err = binary.Append(dst, binary.NativeEndian, v); err != nil {
			return dst[:n], fmt.Errorf("%T has no fixed layout", v)
		}
	}
	if got := len(dst) - n; got != size {
		return dst[:n], fmt.Errorf("%T has %d bytes, want %d", v, got, size)
	}
	return dst, nil
}

// Decode sets *dst (a non-nil pointer, a BinaryUnmarshaler, or a slice with room) from data.
func Decode(dst any, data []byte) error {
	switch d := dst.(type) {
	case nil:
		return fmt.Errorf("can't store %d bytes in nil", len(data))
	case encoding.BinaryUnmarshaler:
		return d.UnmarshalBinary(data)
	case *[]byte:
		*d = append((*d)[:0], data...)
		return nil
	case *string:
		*d = string(data)
		return nil
	case []byte:
		if len(d) != len(data) {
			return fmt.Errorf("[]byte has %d bytes, want %d", len(d), len(data))
		}
		copy(d, data)
		return nil
	case *uint32:
		if len(data) == 4 {
			*d = binary.NativeEndian.Uint32(data)
			return nil
		}
	case *uint64:
		if len(data) == 8 {
			*d = binary.NativeEndian.Uint64(data)
			return nil
		}
	}
	if s := binary.Size(dst); s != len(data) {
		if s < 0 {
			return fmt.Errorf("%T has no fixed layout", dst)
		}
		return fmt.Errorf("%T has %d bytes, want %d", dst, s, len(data))
	}
	if t := reflect.TypeOf(dst); hidden(t) {
		return fmt.Errorf("%v has unexported fields and padding: it cannot be set", t)
	}
	_, err := binary.Decode(data, binary.NativeEndian, dst)
	return err
}

// hidden reports whether a type has fields that encoding/binary would panic about.
func hidden(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hidden(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.Name != "_" && (!f.IsExported() || hidden(f.Type)) {
				return true
			}
		}
	}
	return false
}

// AppendPerCPU appends one value per CPU, each padded to a multiple of eight
// bytes, from a slice of cpus elements or from raw bytes of the full size.
func AppendPerCPU(dst []byte, v any, size, cpus int) ([]byte, error) {
	stride := (size + 7) &^ 7
	if raw, ok := v.([]byte); ok && len(raw) == stride*cpus {
		return append(dst, raw...), nil
	}
	s := reflect.ValueOf(v)
	if s.Kind() != reflect.Slice {
		return dst, fmt.Errorf("a per-CPU value needs a slice with one element per CPU, not %T", v)
	}
	if s.Len() > cpus {
		return dst, fmt.Errorf("%d elements for %d CPUs", s.Len(), cpus)
	}
	n := len(dst)
	dst = append(dst, make([]byte, stride*cpus)...)
	for i := range s.Len() {
		at := n + i*stride
		if _, err := Append(dst[at:at:at+stride], s.Index(i).Interface(), size); err != nil {
			return dst[:n], fmt.Errorf("CPU %d: %w", i, err)
		}
	}
	return dst, nil
}

// DecodePerCPU sets *dst, a pointer to a slice, to one element per CPU.
func DecodePerCPU(dst any, data []byte, size, cpus int) error {
	if raw, ok := dst.(*[]byte); ok {
		*raw = append((*raw)[:0], data...)
		return nil
	}
	p := reflect.ValueOf(dst)
	if p.Kind() == reflect.Slice && p.Len() >= cpus {
		return decodeElems(p, data, size, cpus)
	}
	if p.Kind() != reflect.Pointer || p.Elem().Kind() != reflect.Slice {
		return fmt.Errorf("a per-CPU value needs a pointer to a slice, not %T", dst)
	}
	s := p.Elem()
	if s.Cap() < cpus {
		s.Set(reflect.MakeSlice(s.Type(), cpus, cpus))
	}
	s.SetLen(cpus)
	return decodeElems(s, data, size, cpus)
}

func decodeElems(s reflect.Value, data []byte, size, cpus int) error {
	stride := (size + 7) &^ 7
	for i := range cpus {
		elem := s.Index(i)
		if elem.Kind() == reflect.Pointer && elem.IsNil() {
			elem.Set(reflect.New(elem.Type().Elem()))
		} else if elem.Kind() != reflect.Pointer {
			elem = elem.Addr()
		}
		if err := Decode(elem.Interface(), data[i*stride:i*stride+size]); err != nil {
			return fmt.Errorf("CPU %d: %w", i, err)
		}
	}
	return nil
}
