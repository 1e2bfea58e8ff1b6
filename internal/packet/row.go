package packet

import (
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Row is packets whose Frames lie one behind the other, so that native code goes
// from one to the next by itself.
type Row struct {
	ctx     *mem.Block
	packets []*Packet
}

// Sizes in bytes. What a Row's packets can hold without moving is that of an XDP
// buffer with its tail; the bytes of neighbours begin at different places of a
// page, or they would all want the same few lines of the cache.
const (
	rowStride = (FrameSize + socket.SockSize + 63) &^ 63
	rowBuf    = 3 * 4096
	rowIndent = 5 * 64
)

// NewRow makes n empty packets.
func NewRow(n int) (*Row, error) {
	ctx, err := mem.Alloc(n * rowStride)
	if err != nil {
		return nil, err
	}
	r := &Row{ctx: ctx}
	for i := range n {
		buf, err := mem.Alloc(rowBuf)
		if err != nil {
			r.Free()
			return nil, err
		}
		p := at(ctx.Addr() + uint64(i*rowStride))
		p.buf, p.indent = buf, uint64(i*rowIndent%4096)
		r.packets = append(r.packets, p)
	}
	return r, nil
}

// Free gives the packets' memory back.
func (r *Row) Free() {
	for _, p := range r.packets {
		p.Free()
	}
	r.packets = nil
	r.ctx.Free()
}

// Len is the number of packets.
func (r *Row) Len() int { return len(r.packets) }

// Packet returns packet i.
func (r *Row) Packet(i int) *Packet { return r.packets[i] }

// Stride is how far apart, in bytes, the addresses of neighbours are (see [Packet.Addr]).
func (r *Row) Stride() uint64 { return uint64(rowStride) }
