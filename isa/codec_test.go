package isa

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var byteOrders = []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}

func TestDecodeFields(t *testing.T) {
	want := Instruction{Op: 0x63, Dst: 10, Src: 1, Off: -4, Imm: -2}
	for _, tc := range []struct {
		order binary.ByteOrder
		code  []byte
	}{
		{binary.LittleEndian, []byte{0x63, 0x1a, 0xfc, 0xff, 0xfe, 0xff, 0xff, 0xff}},
		{binary.BigEndian, []byte{0x63, 0xa1, 0xff, 0xfc, 0xff, 0xff, 0xff, 0xfe}},
	} {
		prog, err := Decode(tc.code, tc.order)
		if err != nil || len(prog) != 1 || prog[0] != want {
			t.Errorf("%v: Decode = %+v, %v; want %+v", tc.order, prog, err, want)
		}
		if got := Encode([]Instruction{want}, tc.order); !bytes.Equal(got, tc.code) {
			t.Errorf("%v: Encode = % x, want % x", tc.order, got, tc.code)
		}
	}
}

func TestDecodeNativeEndian(t *testing.T) {
	prog := []Instruction{Mov64Reg(R1, R2)}
	back, err := Decode(Encode(prog, binary.NativeEndian), binary.NativeEndian)
	if err != nil || back[0] != prog[0] {
		t.Errorf("round trip = %+v, %v", back, err)
	}
}

func TestDecodeTruncated(t *testing.T) {
	if _, err := Decode(make([]byte, 9), binary.LittleEndian); !errors.Is(err, ErrTruncated) {
		t.Errorf("error = %v, want ErrTruncated", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x18, 0x1f, 0xff, 0xff, 1, 2, 3, 4, 0, 0, 0, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, order := range byteOrders {
			prog, err := Decode(code, order)
			if (err == nil) != (len(code)%InsnSize == 0) {
				t.Fatalf("%d bytes: error %v", len(code), err)
			}
			if err != nil {
				continue
			}
			if !bytes.Equal(Encode(prog, order), code) {
				t.Fatalf("%v: % x does not come back", order, code)
			}
			checkTexts(t, prog)
		}
	})
}

// checkTexts prints a program, however illegal, in every dialect, and has our
// own text assembled to the same again.
func checkTexts(t *testing.T, prog []Instruction) {
	t.Helper()
	var text strings.Builder
	for d := range Dialect(dialects) {
		text.Reset()
		if err := (&Printer{Dialect: d}).Listing(&text, prog); err != nil {
			t.Fatal(err)
		}
		if d != Assembly {
			continue
		}
		back, err := Assemble("text", text.String(), Symbols{})
		if err != nil || !slices.Equal(back, prog) {
			t.Fatalf("%+v\nprinted as\n%s\nassembles to %+v, %v", prog, text.String(), back, err)
		}
	}
}

// TestRandomPrograms sends random slots, legal and not, through text and back.
func TestRandomPrograms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		prog := make([]Instruction, 100)
		for i := range prog {
			v := random.Uint64()
			prog[i] = Instruction{Opcode(v), Register(v>>8) & 15, Register(v>>12) & 15, int16(v >> 16), int32(v >> 32)}
			r := &Table[random.IntN(len(Table))]
			if some := instances(r); i%4 != 0 {
				prog[i] = some[random.IntN(len(some))]
			}
			if i > 0 && prog[i-1].IsLoadImm64() && i%3 != 0 {
				prog[i] = Instruction{Imm: int32(v)}
			}
			prog[i].Off %= 50 // some jumps shall land
		}
		checkTexts(t, prog)
	}
}
