package afxdp

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// pageSize is what areas are aligned to and chunks are at most, in bytes.
const pageSize = 4096

// Area is the memory of a UMEM: off-heap, page aligned, and there until nobody
// uses it any more.
type Area struct {
	block *mem.Block
	refs  atomic.Int32
}

// NewArea makes an area of size bytes. The caller holds it until Close.
func NewArea(size int) (*Area, error) {
	b, err := mem.Alloc(size)
	if err != nil {
		return nil, err
	}
	a := &Area{block: b}
	a.refs.Store(1)
	return a, nil
}

// Bytes is the memory.
func (a *Area) Bytes() []byte { return a.block.Bytes() }

// Close gives the caller's hold up.
func (a *Area) Close() {
	if a.refs.Add(-1) == 0 {
		a.block.Free()
	}
}

func (a *Area) hold() { a.refs.Add(1) }

// Memory is a UMEM's that another process holds: packets are copied into it and out of it. Methods report
// whether all of it was there.
type Memory interface {
	Size() uint64
	Read(off uint64, b []byte) bool
	Write(off uint64, b []byte) bool
	Close()
}

// umem is a registered area (struct xdp_umem).
type umem struct {
	area   *Area
	bytes  []byte
	remote Memory // instead of both; nil: it is an area
	Reg
	zeroCopy bool
	sg       bool         // sockets take packets of several descriptors
	refs     atomic.Int32 // of sockets and pools
}

// Sizes in bytes: of the smallest chunk (XDP_UMEM_MIN_CHUNK_SIZE), and of what a
// chunk must have besides its headroom: Headroom, the least room for a packet, and a
// skb_shared_info behind it.
const (
	minChunk = 2048
	minRoom  = Headroom + 128 + 320
)

// newUMEM follows xdp_umem_reg.
func newUMEM(size uint64, r Reg) (*umem, errno.Errno) {
	unaligned := r.Flags&Unaligned != 0
	switch {
	case r.ChunkSize < minChunk || r.ChunkSize > pageSize,
		r.Flags&^(Unaligned|txSoftCsum|txMetaLen) != 0,
		!unaligned && r.ChunkSize&(r.ChunkSize-1) != 0,
		size/uint64(r.ChunkSize) == 0 || size/uint64(r.ChunkSize) > math.MaxUint32,
		!unaligned && size%uint64(r.ChunkSize) != 0,
		r.Headroom > r.ChunkSize-minRoom,
		r.Flags&txMetaLen != 0 && (r.TxMetadataLen >= 256 || r.TxMetadataLen%8 != 0):
		return nil, errno.EINVAL
	}
	if r.Flags&txMetaLen == 0 {
		r.TxMetadataLen = 0
	}
	u := &umem{Reg: r}
	u.refs.Store(1)
	return u, 0
}

func (u *umem) unaligned() bool { return u.Flags&Unaligned != 0 }

func (u *umem) size() uint64 {
	if u.remote != nil {
		return u.remote.Size()
	}
	return uint64(len(u.bytes))
}

// frameSize is how much of a packet goes into a chunk.
func (u *umem) frameSize() uint32 { return u.ChunkSize - u.Headroom - Headroom }

// chunk checks an address of the fill ring and returns that of its chunk
// (xp_check_aligned, xp_check_unaligned).
func (u *umem) chunk(addr uint64) (uint64, bool) {
	if !u.unaligned() {
		addr &^= uint64(u.ChunkSize) - 1
		return addr, addr < u.size()
	}
	addr &= addrMask
	return addr, addr < u.size() && addr+uint64(u.ChunkSize) <= u.size()
}

// valid checks a descriptor of the tx ring (xp_validate_desc).
func (u *umem) valid(d Desc) bool {
	meta := uint64(u.TxMetadataLen)
	n := uint64(d.Len)
	if n == 0 || d.Options&^(Continued|txMetadata) != 0 {
		return false
	}
	if u.unaligned() {
		addr := d.Start() - meta
		return n+meta <= uint64(u.ChunkSize) && addr < u.size() && addr+n+meta <= u.size()
	}
	if d.Addr < meta {
		return false
	}
	addr := d.Addr - meta
	return addr&uint64(u.ChunkSize-1)+n+meta <= uint64(u.ChunkSize) && addr < u.size()
}

// at returns the bytes of a valid descriptor: where they lie, or copied to the end of buf. What another process does
// not have any more is zero.
func (u *umem) at(d Desc, buf []byte) []byte {
	addr := d.Addr
	if u.unaligned() {
		addr = d.Start()
	}
	if u.remote == nil {
		return u.bytes[addr:][:d.Len:d.Len]
	}
	n := len(buf)
	buf = slices.Grow(buf, int(d.Len))[:n+int(d.Len)]
	if !u.remote.Read(addr, buf[n:]) {
		clear(buf[n:])
	}
	return buf[n:]
}

// put copies bytes to an address.
func (u *umem) put(addr uint64, b []byte) {
	if u.remote == nil {
		copy(u.bytes[addr:], b)
	} else if len(b) > 0 {
		u.remote.Write(addr, b)
	}
}

func (u *umem) release() {
	switch {
	case u.refs.Add(-1) != 0:
	case u.remote != nil:
		u.remote.Close()
	default:
		u.area.Close()
	}
}
