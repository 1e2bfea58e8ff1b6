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
