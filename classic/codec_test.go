package classic

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func TestCodec(t *testing.T) {
	prog := []Instruction{{0x28, 1, 2, 0x12345678}}
	little := []byte{0x28, 0, 1, 2, 0x78, 0x56, 0x34, 0x12}
	big := []byte{0, 0x28, 1, 2, 0x12, 0x34, 0x56, 0x78}
	if got := Encode(prog, binary.LittleEndian); !slices.Equal(got, little) {
		t.Errorf("little-endian % x", got)
	}
	if got := Encode(prog, binary.BigEndian); !slices.Equal(got, big) {
		t.Errorf("big-endian % x", got)
	}
	for _, n := range []int{1, 7, 9} {
		if _, err := Decode(make([]byte, n), binary.LittleEndian); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(everyRow(), binary.LittleEndian))
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			prog, err := Decode(code, order)
			if err != nil {
				continue
			}
			if again := Encode(prog, order); !slices.Equal(again, code) {
				t.Fatalf("% x\nbecame % x", code, again)
			}
			// Every program has a text, and it gives the program back.
			if len(prog) == 0 || len(prog) > MaxInstructions {
				continue
			}
			text := string(AppendProgram(nil, prog, Assembly))
			again, err := Assemble("text", text, nil)
			if err != nil && Check(prog, Libpcap) != nil {
				continue // a jump to where no label stands
			}
			if err != nil || !slices.Equal(again, prog) {
				t.Fatalf("%s\ngives %v, %v", text, again, err)
			}
		}
	})
}
