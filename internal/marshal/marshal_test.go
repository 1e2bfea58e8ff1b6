package marshal

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

type pair struct {
	A uint16
	B [2]uint8
}

func TestAppendDecode(t *testing.T) {
	for _, tc := range []struct {
		in   any
		size int
		want []byte
	}{
		{uint32(1), 4, binary.NativeEndian.AppendUint32(nil, 1)},
		{int8(-1), 1, []byte{0xff}},
		{pair{A: 1, B: [2]uint8{2, 3}}, 4, append(binary.NativeEndian.AppendUint16(nil, 1), 2, 3)},
		{[]byte{1, 2, 3}, 3, []byte{1, 2, 3}},
		{"abc", 3, []byte("abc")},
		{netip.AddrFrom4([4]byte{10, 0, 0, 1}), 4, []byte{10, 0, 0, 1}}, // a BinaryMarshaler
	} {
		got, err := Append(nil, tc.in, tc.size)
		if err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("Append(%v) = %x, %v; want %x", tc.in, got, err, tc.want)
			continue
		}
		if s := reflect.TypeOf(tc.in).Kind(); s == reflect.Slice {
			continue
		}
		back := reflect.New(reflect.TypeOf(tc.in))
		if err := Decode(back.Interface(), got); err != nil || !reflect.DeepEqual(back.Elem().Interface(), tc.in) {
			t.Errorf("Decode(%x) = %v, %v; want %v", got, back.Elem(), err, tc.in)
		}
	}
}

func TestWrongSizes(t *testing.T) {
	for _, tc := range []struct {
		in   any
		size int
		want string
	}{
		{uint64(1), 4, "uint64 has 8 bytes, want 4"},
		{nil, 4, "nil value"},
		{(*uint32)(nil), 4, "nil *uint32"},
		{int(1), 8, "int has no fixed layout"},
		{netip.AddrFrom4([4]byte{}), 16, "netip.Addr has 4 bytes, want 16"},
		{map[string]int{}, 4, "no fixed layout"},
		{"abc", 4, "string has 3 bytes, want 4"},
	} {
		if _, err := Append(nil, tc.in, tc.size); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Append(%v, %d): %v; want %q", tc.in, tc.size, err, tc.want)
		}
	}
	if err := Decode(new(uint64), []byte{1, 2}); err == nil || !strings.Contains(err.Error(), "want 2") {
		t.Errorf("Decode of two bytes into a uint64: %v", err)
	}
}

func TestPerCPU(t *testing.T) {
	b, err := AppendPerCPU(nil, []uint32{7, 8}, 4, 3)
	if err != nil || len(b) != 24 {
		t.Fatalf("got %x, %v; want three slots of 8 bytes", b, err)
	}
	var out []uint32
	if err := DecodePerCPU(&out, b, 4, 3); err != nil || !reflect.DeepEqual(out, []uint32{7, 8, 0}) {
		t.Errorf("got %v, %v", out, err)
	}
	if _, err := AppendPerCPU(nil, []uint32{1, 2, 3, 4}, 4, 3); err == nil {
		t.Error("four elements for three CPUs were taken")
	}
	if _, err := AppendPerCPU(nil, uint32(1), 4, 3); err == nil {
		t.Error("a scalar was taken for a per-CPU value")
	}
}

// View gives the memory of exactly those values that encoding/binary would turn
// into the same bytes.
func TestView(t *testing.T) {
	type hole struct {
		A uint8
		B uint32
	}
	type dense struct {
		A uint32
		b [4]uint8
	}
	type named uint16
	for _, tc := range []struct {
		v          any
		size       int
		read, room bool
	}{
		{uint32(1 << 20), 4, true, false},
		{uint8(3), 1, true, false},
		{named(3), 2, true, false},
		{new(uint64), 8, true, true},
		{new(named), 2, true, true},
		{dense{1, [4]uint8{1, 2, 3, 4}}, 8, true, false},
		{&dense{}, 8, true, true},
		{[4]uint16{1, 2, 3, 4}, 8, true, false},
		{[]byte{1, 2, 3}, 3, true, true},
		{"abc", 3, true, false},
		{hole{}, 8, false, false},
		{&hole{}, 8, false, false},
		{true, 1, false, false},
		{new(bool), 1, false, false}, // any byte is not one
		{uint32(1), 8, false, false},
		{[]byte{1}, 3, false, false},
		{(*uint32)(nil), 4, false, false},
		{nil, 4, false, false},
		{netip.AddrFrom4([4]byte{1}), 4, false, false},
		{&netip.Addr{}, 24, false, false},
		{[]uint32{1}, 4, false, false},
		{struct{ P *int }{}, 8, false, false},
	} {
		w := View{Size: tc.size}
		for range 2 { // a type that is new, and one that was seen
			got, ok := w.Bytes(tc.v)
			if ok != tc.read {
				t.Errorf("Bytes(%T) for %d: %v, want %v", tc.v, tc.size, ok, tc.read)
			}
			if want, err := Append(nil, tc.v, tc.size); ok && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("Bytes(%#v) = %x, want %x, %v", tc.v, got, want, err)
			}
			if _, ok := w.Room(tc.v); ok != tc.room {
				t.Errorf("Room(%T) for %d: %v, want %v", tc.v, tc.size, ok, tc.room)
			}
		}
		if each := (View{Size: 8 * tc.size, CPUs: tc.size, Each: 8}); tc.size == 4 || tc.size == 8 {
			if _, ok := each.Bytes(tc.v); ok {
				t.Errorf("a view of values of all CPUs took %T", tc.v)
			}
		}
	}
}

// Values of all CPUs are viewed where their elements lie as the map has them, and else turned.
func TestViewPerCPU(t *testing.T) {
	type pair struct{ A, B uint32 }
	type hole struct {
		A uint32
		B uint64
	}
	for _, tc := range []struct {
		v          any
		each       int
		read, room bool
	}{
		{[]uint64{1, 2, 3}, 8, true, true},
		{&[]uint64{1, 2, 3}, 8, false, true}, // to be read, a slice is wanted
		{[]pair{{1, 2}, {3, 4}, {5, 6}}, 8, true, true},
		{&[]pair{{1, 2}, {3, 4}, {5, 6}}, 8, false, true},
		{make([]byte, 24), 8, true, true},
		{[]uint64{1, 2}, 8, false, false}, // the rest is zero
		{&[]uint64{1, 2}, 8, false, false},
		{&[]uint64{}, 8, false, false},
		{new([]uint64), 8, false, false},
		{[]uint64(nil), 8, false, false},
		{(*[]uint64)(nil), 8, false, false},
		{[]uint64{1, 2, 3, 4}, 8, false, false},
		{[]uint64{1, 2, 3}, 4, false, false}, // wrong, though the rounded size is theirs
		{[]uint32{1, 2, 3}, 4, false, false}, // each has padding behind it
		{[]hole{{}, {}, {}}, 16, false, false},
		{[]*uint64{nil, nil, nil}, 8, false, false},
		{uint64(1), 8, false, false},
	} {
		w := View{Size: 3 * ((tc.each + 7) &^ 7), CPUs: 3, Each: tc.each}
		for range 2 {
			got, ok := w.Bytes(tc.v)
			if ok != tc.read {
				t.Errorf("Bytes(%T of %d): %v, want %v", tc.v, tc.each, ok, tc.read)
			}
			if want, err := AppendPerCPU(nil, tc.v, tc.each, 3); ok && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("Bytes(%#v) = %x, want %x, %v", tc.v, got, want, err)
			}
			if b, ok := w.Room(tc.v); ok != tc.room || ok && len(b) != w.Size {
				t.Errorf("Room(%T of %d): %v and %d bytes, want %v", tc.v, tc.each, ok, len(b), tc.room)
			}
		}
	}
}

// Slices are viewed whole where their elements are.
func TestSlice(t *testing.T) {
	b, ok := Slice([]uint16{1, 2, 3}, 2, 3)
	if want, _ := binary.Append(nil, binary.NativeEndian, []uint16{1, 2, 3}); !ok || !bytes.Equal(b, want) {
		t.Errorf("%x, %v", b, ok)
	}
	for _, tc := range []struct {
		v       any
		size, n int
	}{
		{[]uint16{1, 2}, 2, 3}, {[]uint16{1, 2}, 4, 2}, {[]bool{true}, 1, 1}, {[]netip.Addr{{}}, 24, 1}, {[2]uint16{}, 2, 2}, {nil, 2, 2}, {[]*int{nil}, 8, 1},
	} {
		if _, ok := Slice(tc.v, tc.size, tc.n); ok {
			t.Errorf("Slice(%T, %d, %d)", tc.v, tc.size, tc.n)
		}
	}
	if b, ok := Slice([]uint16{}, 2, 0); !ok || len(b) != 0 {
		t.Errorf("an empty slice: %v, %v", b, ok)
	}
}

// A struct that cannot be set is an error, not a panic.
func TestUnexported(t *testing.T) {
	var v struct {
		a uint8
		B uint32
	}
	if err := Decode(&v, make([]byte, 5)); err == nil || !strings.Contains(err.Error(), "unexported") {
		t.Error(err)
	}
	_ = v.a
}
