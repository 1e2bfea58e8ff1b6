package linux

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// ringOf is a ring of 64 bytes with a page before it, with records at its beginning.
func ringOf(head, tail uint64, records []byte) *perfRing {
	mem := make([]byte, 2048+64)
	copy(mem[2048:], records)
	binary.NativeEndian.PutUint64(mem[ringHead:], head)
	binary.NativeEndian.PutUint64(mem[ringTail:], tail)
	return &perfRing{page: mem, data: mem[2048:]}
}

func recordOf(typ uint32, body ...uint64) []byte {
	b := binary.NativeEndian.AppendUint32(nil, typ)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint16(b, uint16(8+8*len(body)))
	for _, w := range body {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

// Records are read in their order, around the ring's end too.
func TestRing(t *testing.T) {
	sample := recordOf(RecordSample, 77, 0x11223300000004) // 4 bytes: 33 22 11 00
	lost := recordOf(RecordLost, 5, 6)
	all := append(sample, lost...)
	at := 40 // the lost record goes around the end
	rotated := append(bytes.Clone(all[64-at:]), make([]byte, 64)...)[:64]
	copy(rotated[at:], all)
	r := ringOf(128+uint64(at+len(all)), 128+uint64(at), rotated)
	var got []PipeEvent
	if err := r.drain(func(e *PipeEvent) error {
		c := *e
		c.Data = bytes.Clone(e.Data)
		got = append(got, c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Time != 77 || !bytes.Equal(got[0].Data, []byte{0x33, 0x22, 0x11, 0}) || got[1].ID != 5 || got[1].Lost != 6 {
		t.Errorf("%+v", got)
	}
	if tail := *r.position(ringTail); tail != *r.position(ringHead) {
		t.Errorf("read up to %d", tail)
	}
}

// FuzzRing reads rings that hold anything: records are whole or refused.
func FuzzRing(f *testing.F) {
	f.Add(uint64(24), uint64(0), recordOf(RecordSample, 1, 4))
	f.Add(uint64(24), uint64(0), recordOf(RecordSample, 1, 0xffffffff))
	f.Add(uint64(64+24), uint64(64), recordOf(RecordLost, 1, 2))
	f.Add(uint64(0), uint64(1<<63), recordOf(0, 1, 2))
	f.Fuzz(func(t *testing.T, head, tail uint64, records []byte) {
		r := ringOf(head, tail, records)
		n := 0
		r.drain(func(e *PipeEvent) error {
			if n += e.Size; e.Size < recordHeader || len(e.Data) > e.Size {
				t.Errorf("%+v", e)
			}
			return nil
		})
		if n > len(r.data) {
			t.Errorf("%d bytes of %d", n, len(r.data))
		}
	})
}
