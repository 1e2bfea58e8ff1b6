package afxdp

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// Place returns where a driver in zero-copy mode is to write a packet of n bytes:
// the buffer, with the room before it, and the chunk it lies in, which goes to ReceivePlaced or Recycle. ok
// is false when there is no chunk, or the packet does not fit into one: it is dropped.
func (p *Pool) Place(n int) (buf []byte, head int, chunk uint64, ok bool) {
	if n > int(p.umem.frameSize()) {
		return nil, 0, 0, false
	}
	p.rx.Lock()
	chunk, ok = p.take()
	p.rx.Unlock()
	if !ok {
		return nil, 0, 0, false
	}
	head = int(p.umem.Headroom) + Headroom
	at := chunk + uint64(head)
	return p.umem.bytes[at : at+uint64(n) : chunk+uint64(p.umem.ChunkSize)], head, chunk, true
}

// Recycle takes back a chunk of Place whose packet went elsewhere.
func (p *Pool) Recycle(chunk uint64) {
	p.rx.Lock()
	p.give(chunk)
	p.rx.Unlock()
}

// ReceivePlaced is Receive of a packet that lies in a chunk already, which the
// socket takes over if all is well. taken is false, without an error, for a socket with another UMEM: the
// packet is to be copied.
func (s *Socket) ReceivePlaced(p *Pool, chunk uint64, dev Netdev, queue uint32, packet []byte) (taken bool, e errno.Errno) {
	if s.pool.Load() != p || len(packet) == 0 {
		return false, 0
	}
	p.rx.Lock()
	defer p.rx.Unlock()
	if e := s.receives(p, dev, queue); e != 0 {
		return false, e
	}
	off := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(packet)))-uintptr(unsafe.Pointer(unsafe.SliceData(p.umem.bytes)))) - chunk
	if size := uint64(p.umem.ChunkSize); off > size || off+uint64(len(packet)) > size {
		return false, 0 // a program has had it moved elsewhere
	}
	if s.rx.Free(1) == 0 {
		s.rxFull.Add(1)
		return false, errno.ENOBUFS
	}
	d := Desc{Addr: chunk + off, Len: uint32(len(packet))}
	if p.umem.unaligned() {
		d.Addr = chunk | off<<offsetShift
	}
	s.rx.PutDesc(d)
	return true, 0
}
