package classic_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/classic"
)

// headers draws headers one behind the other, each saying what the next one is,
// so that a dissector finds its way through; now and then one that is wrong.
type headers struct {
	r *rand.Rand
	b []byte
}

func (h *headers) put(v ...byte)     { h.b = append(h.b, v...) }
func (h *headers) put16(v uint16)    { h.b = binary.BigEndian.AppendUint16(h.b, v) }
func (h *headers) zero(n int)        { h.b = append(h.b, make([]byte, n)...) }
func (h *headers) rarely() bool      { return h.r.IntN(16) == 0 }
func (h *headers) pick(v ...int) int { return v[h.r.IntN(len(v))] }

// typ draws the header of an Ethernet type and all behind it.
func (h *headers) typ(typ, depth int) {
	next := func() int {
		return h.pick(0x0800, 0x86dd, 0x8100, 0x88a8, 0x8864, 0x8847, 0x8848, 0x892f, 0x88fb, 0x4305, 0x0806, 0x8035,
			0x88ca, 0x88f7, 0x8902, 0x8906, 0x6558, 0x1234, 0x0800, 0x86dd)
	}
	if depth == 0 {
		return
	}
	switch typ {
	case 0x0800:
		proto := h.protocol()
		ihl := h.pick(5, 5, 5, 6, 15)
		if h.rarely() {
			ihl = h.r.IntN(16)
		}
		h.put(byte(0x40|ihl), 0, 1, 0, 0, 1)
		h.put16(h.fragment(0x1fff, 0x2000))
		h.put(64, byte(proto), 0, 0)
		h.zero(8 + max(ihl-5, 0)*4)
		h.ip(proto, depth-1)
	case 0x86dd:
		proto := h.protocol()
		h.put(0x60, 0, 0, byte(h.r.IntN(2)), 1, 0, byte(proto), 64)
		h.zero(32)
		h.ip(proto, depth-1)
	case 0x8100, 0x88a8:
		n := next()
		h.zero(2)
		h.put16(uint16(n))
		h.typ(n, depth-1)
	case 0x892f, 0x88fb:
		n := next()
		h.zero(4)
		h.put16(uint16(n))
		h.typ(n, depth-1)
	case 0x8864:
		proto := h.pick(0x21, 0x57, 0x281, 0x283, 0xc021, 0x2000, 0x21, 0x57)
		h.put(0x11, byte(h.pick(0, 0, 0, 9)), 0, 1, 1, 0)
		h.put16(uint16(proto))
		h.typ(map[int]int{0x21: 0x0800, 0x57: 0x86dd, 0x281: 0x8847, 0x283: 0x8848}[proto], depth-1)
	case 0x4305:
		n := next()
		h.put(byte(h.pick(0x40, 0x40, 0x40, 0x41)), byte(h.pick(15, 15, 15, 14)))
		h.zero(8 + 12)
		h.put16(uint16(n))
		h.typ(n, depth-1)
	}
}

func (h *headers) protocol() int {
	return h.pick(0, 1, 2, 4, 6, 17, 33, 41, 43, 44, 47, 47, 47, 50, 51, 58, 60, 115, 132, 136, 137, 200, 6, 4, 41)
}

func (h *headers) fragment(offset, more uint16) uint16 {
	switch {
	case h.rarely():
		return uint16(h.r.Uint32()) & offset
	case h.rarely():
		return more
	}
	return 0
}

// ip draws the header of an IP protocol and all behind it.
func (h *headers) ip(proto, depth int) {
	if depth == 0 {
		return
	}
	switch proto {
	case 4:
		h.typ(0x0800, depth)
	case 41:
		h.typ(0x86dd, depth)
	case 137:
		h.typ(0x8847, depth)
	case 0, 43, 60:
		next, n := h.protocol(), h.r.IntN(3)
		h.put(byte(next), byte(n))
		h.zero(6 + n*8)
		h.ip(next, depth-1)
	case 44:
		next := h.protocol()
		h.put(byte(next), 0)
		h.put16(h.fragment(0xfff8, 1))
		h.zero(4)
		h.ip(next, depth-1)
	case 47:
		flags := h.pick(0, 0x8000, 0x2000, 0x1000, 0xb000, 0x4000, 1, 0x2001, 0x2001, 0x3081, 0x2081, 2)
		typ := h.pick(0x0800, 0x86dd, 0x6558, 0x6558, 0x8847, 0x8100, 0x880b)
		if flags&7 == 1 && !h.rarely() {
			typ = 0x880b
		}
		h.put16(uint16(flags))
		h.put16(uint16(typ))
		for _, bit := range []int{0x8000, 0x2000, 0x1000, 0x0080} {
			if flags&bit != 0 {
				h.zero(4)
			}
		}
		if flags&7 == 1 {
			h.put(0xff, 3)
			proto := h.pick(0x21, 0x57, 0xc021)
			h.put16(uint16(proto))
			typ = map[int]int{0x21: 0x0800, 0x57: 0x86dd}[proto]
		} else if typ == 0x6558 {
			typ = h.pick(0x0800, 0x86dd, 0x8100, 0x8864)
			h.zero(12)
			h.put16(uint16(typ))
		}
		h.typ(typ, depth-1)
	case 6:
		h.zero(12)
		h.put(byte(h.r.IntN(16)<<4), 2)
		h.zero(6)
	}
}

// TestFindPayloadAsTheKernel sends frames with headers drawn by chance through
// a filter that returns the payload's offset, whole and cut short.
func TestFindPayloadAsTheKernel(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := newWire(t)
		w.must(unix.SetsockoptInt(w.sock, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		prog, err := classic.Assemble("t", "ld poff\nadd #1\nret a", nil)
		w.must(err)
		w.must(attach(w.sock, prog))
		buf := make([]byte, 4096)
		for { // what came before
			if _, err := unix.Read(w.sock, buf); err != nil {
				break
			}
		}
		h := headers{r: rand.New(rand.NewPCG(1, 2))}
		offsets := map[int]int{}
		const frames = 20_000
		for range frames {
			// To another host, so that nobody answers. The kernel takes an outer
			// tag off before anybody sees the frame.
			typ := h.pick(0x0800, 0x0800, 0x86dd, 0x86dd, 0x8864, 0x8847, 0x892f, 0x88fb, 0x4305, 0x0806, 0x88ca, 0x88f7, 0x8902, 0x8906)
			h.b = append(h.b[:0], 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7)
			h.put16(uint16(typ))
			h.typ(typ, 1+h.r.IntN(18))
			h.zero(h.pick(0, 1, 4, 8, 40, 100))
			if h.r.IntN(4) == 0 {
				h.b = h.b[:14+h.r.IntN(len(h.b)-13)]
			}
			if len(h.b) > 1514 {
				continue
			}
			if _, err := unix.Write(w.tap, h.b); err != nil {
				w.t.Errorf("%d bytes: %v", len(h.b), err)
				return
			}
			n, err := unix.Read(w.sock, buf)
			if errors.Is(err, unix.EAGAIN) {
				t.Errorf("nothing came of % x", h.b)
				return
			}
			w.must(err)
			ours := classic.FindPayload(h.b, uint16(typ), 14)
			if min(ours+1, len(h.b)) != n {
				t.Errorf("offset %d, the kernel has %d: % x", ours, n-1, h.b)
				return
			}
			offsets[ours]++
		}
		if len(offsets) < 100 || offsets[0] > frames/2 {
			t.Errorf("%d different offsets, %d frames without one: they say little", len(offsets), offsets[0])
		}
	}()
	<-done
}
