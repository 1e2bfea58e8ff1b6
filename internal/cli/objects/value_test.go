package objects

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/btfdump"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// wire makes BTF of types given as words, with names as offsets into strings.
func wire(strings string, words ...uint32) []byte {
	order := binary.LittleEndian
	b := order.AppendUint16(nil, rawbtf.Magic)
	b = append(b, 1, 0)
	for _, v := range []uint32{24, 0, uint32(4 * len(words)), uint32(4 * len(words)), uint32(len(strings))} {
		b = order.AppendUint32(b, v)
	}
	for _, w := range words {
		b = order.AppendUint32(b, w)
	}
	return append(b, strings...)
}

func kind(k rawbtf.Kind, vlen uint32) uint32 { return uint32(k)<<24 | vlen }

// seeds are types worth mutating: a struct with bit fields and an array of
// itself in it, a data section, an enum, an array of very many elements of no size.
func seeds() [][]byte {
	names := "\x00int\x00s\x00a\x00b\x00.data\x00"
	return [][]byte{
		wire(names,
			1, kind(rawbtf.KindInt, 0), 4, 1<<24|32,
			5, kind(rawbtf.KindStruct, 2)|1<<31, 8, 7, 1, 3<<24, 9, 3, 32,
			0, kind(rawbtf.KindArray, 0), 0, 1, 1, 1,
		),
		wire(names,
			1, kind(rawbtf.KindInt, 0), 4, 32,
			7, kind(rawbtf.KindVar, 0), 1, 1,
			11, kind(rawbtf.KindDatasec, 1), 4, 2, 0, 4,
			5, kind(rawbtf.KindEnum, 1), 4, 7, 3,
			0, kind(rawbtf.KindPtr, 0), 6,
			0, kind(rawbtf.KindFuncProto, 1), 1, 7, 1,
		),
		wire(names,
			5, kind(rawbtf.KindStruct, 0), 0,
			0, kind(rawbtf.KindArray, 0), 0, 1, 3, 1<<31,
			1, kind(rawbtf.KindInt, 0), 16, 128,
		),
	}
}

// FuzzValues writes values of whatever types, as JSON and for people: no panic, no
// end of output, and JSON that is JSON.
func FuzzValues(f *testing.F) {
	for _, s := range seeds() {
		for id := range uint32(7) {
			f.Add(s, id, []byte("0123456789abcdef0123456789abcdef"))
		}
	}
	f.Fuzz(func(t *testing.T, blob []byte, id uint32, data []byte) {
		b, err := btfdump.Load(blob, nil)
		if err != nil {
			return
		}
		for _, text := range []bool{false, true} {
			var out bytes.Buffer
			w := bufio.NewWriter(&out)
			v := Values{J: NewJSON(w, text), BTF: b, Text: text, Prog: func(uint32) string { return "p" }}
			err := v.Write(id, data)
			w.Flush()
			if !text && !json.Valid(out.Bytes()) {
				t.Errorf("no JSON (%v): %s", err, out.Bytes())
			}
		}
		if b.Valid(id) {
			Signature(b, int(id))
		}
	})
}

// A value is written as far as its bytes go, and no type makes much of little.
func TestHostileValues(t *testing.T) {
	for i, blob := range seeds() {
		b, err := btfdump.Load(blob, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		for id := range uint32(b.Count() + 1) {
			w := bufio.NewWriter(io.Discard)
			v := Values{J: NewJSON(w, false), BTF: b}
			v.Write(id, make([]byte, 3))
			Signature(b, int(id)*int(b.Count()-int(id)))
		}
	}
}

func TestNumbers(t *testing.T) {
	for word, want := range map[string]uint64{"10": 10, "0x0a": 10, "012": 10, "0": 0, "255": 255} {
		if n, err := Number(word, 8); err != nil || n != want {
			t.Errorf("%s: %d, %v", word, n, err)
		}
	}
	for _, word := range []string{"", "256", "-1", "0b1", "1_0", "0o7", "x", "0x"} {
		if n, err := Number(word, 8); err == nil {
			t.Errorf("%q is %d", word, n)
		}
	}
}

// Layout of JSON for people is bpftool's; strings are valid whatever is in them.
func TestJSON(t *testing.T) {
	var out strings.Builder
	w := bufio.NewWriter(&out)
	j := NewJSON(w, true)
	if err := j.Value([]any{map[string]any{"a": []int{1, 2}, "b": map[string]any{}}, "it's <\"\\\n\xff>", nil, true, 1.5}); err != nil {
		t.Fatal(err)
	}
	j.Line()
	w.Flush()
	want := "[{\n        \"a\": [1,2\n        ],\n        \"b\": {}\n    },\"it's <\\\"\\\\\\n\ufffd>\",null,true,1.5\n]\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
