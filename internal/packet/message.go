package packet

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Message is bytes a program sends by a socket, as sk_msg programs get them
// (struct sk_msg). They lie in a Packet; the context is a struct sk_msg_md as the
// uapi has it, whose data and data_end follow what helpers do.
type Message struct {
	p   *Packet
	ctx uint64

	Apply uint32 // the verdict is for so many bytes; 0: for the message
	Cork  uint32 // the program wants to see so many bytes at once; 0: any
}

// MessageSize is the size of struct sk_msg_md in bytes.
const MessageSize = 80

// Offsets in struct sk_msg_md.
const (
	msgData, msgDataEnd, msgFamily                 = 0, 8, 16
	msgRemote4, msgLocal4, msgRemote6, msgLocal6   = 20, 24, 28, 44
	msgRemotePort, msgLocalPort, msgLen, msgSocket = 60, 64, 68, 72
)

// SetMessage makes m a message of a copy of data in p, sent by sk; its context is written to ctx.
func (p *Packet) SetMessage(ctx uint64, data []byte, sk *socket.Socket) (Message, error) {
	m := Message{p: p, ctx: ctx}
	if err := p.SetStream(data, sk); err != nil {
		return m, err
	}
	mem.Store32(ctx+msgFamily, sk.Family)
	mem.Store32(ctx+msgRemote4, sk.DstIP4)
	mem.Store32(ctx+msgLocal4, sk.SrcIP4)
	for i := range sk.SrcIP6 {
		mem.Store32(ctx+msgRemote6+uint64(4*i), sk.DstIP6[i])
		mem.Store32(ctx+msgLocal6+uint64(4*i), sk.SrcIP6[i])
	}
	mem.Store32(ctx+msgRemotePort, uint32(sk.DstPort)<<16)
	mem.Store32(ctx+msgLocalPort, sk.SrcPort)
	mem.Store64(ctx+msgSocket, sk.Addr())
	m.see(0, p.Size())
	return m, nil
}

// see makes the bytes from start to end the ones the program may touch.
func (m *Message) see(start, end uint64) {
	mem.Store64(m.ctx+msgData, m.p.Data+start)
	mem.Store64(m.ctx+msgDataEnd, m.p.Data+end)
	mem.Store32(m.ctx+msgLen, uint32(m.p.Size()))
}

// Pull makes a range directly accessible, and no other bytes (bpf_msg_pull_data).
func (m *Message) Pull(start, end uint32, flags uint64) errno.Errno {
	if flags != 0 || end <= start || uint64(end) > m.p.Size() {
		return errno.EINVAL
	}
	m.see(uint64(start), uint64(end))
	return 0
}

// Push inserts n zero bytes at start (bpf_msg_push_data).
func (m *Message) Push(start, n uint32, flags uint64) errno.Errno {
	switch {
	case flags != 0:
		return errno.EINVAL
	case n == 0:
		return 0
	case uint64(start) > m.p.Size() || n > 1<<31-1:
		return errno.EINVAL
	}
	if e := m.p.push(uint64(n)); e != 0 {
		return e
	}
	move(m.p.Data, m.p.Data+uint64(n), uint64(start))
	fill(m.p.Data+uint64(start), uint64(n))
	m.see(0, m.p.Size())
	return 0
}

// Pop removes n bytes at start (bpf_msg_pop_data).
func (m *Message) Pop(start, n uint32, flags uint64) errno.Errno {
	switch {
	case flags != 0:
		return errno.EINVAL
	case n == 0:
		return 0
	case uint64(start) >= m.p.Size() || uint64(start)+uint64(n) > m.p.Size():
		return errno.EINVAL
	}
	old := m.p.Data
	m.p.Data += uint64(n)
	move(m.p.Data, old, uint64(start))
	m.p.compute()
	m.see(0, m.p.Size())
	return 0
}
