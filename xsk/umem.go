package xsk

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/afxdp"
)

// UMEMOptions shape a [UMEM]. The zero value is 4096 chunks of 4096 bytes.
type UMEMOptions struct {
	Chunks    int // 0: 4096
	ChunkSize int // bytes, 2048 to 4096, a power of two unless Unaligned; 0: 4096
	// Headroom is how many bytes more than the kernel's 256 are free in front of a
	// packet that was received; the kernel wants 704 bytes of a chunk besides.
	Headroom int
	// Unaligned lets chunks lie anywhere (XDP_UMEM_UNALIGNED_CHUNK_FLAG), so be of any size.
	Unaligned bool
}

// UMEM is memory for packets, off-heap, in chunks of one size. A chunk is free, or
// a [Frame] in the hands of its user, or in the rings of a socket. It is safe for concurrent use.
type UMEM struct {
	area   *afxdp.Area
	reg    afxdp.Reg
	stride uint64 // from chunk to chunk
	base   uintptr

	mu      sync.Mutex
	free    []uint64 // addresses of chunks; the last is taken first
	owner   []*pool  // of each chunk: userOwned, in the rings of a pool, or nil: free
	sockets []*Socket
	pools   map[poolKey]*pool
	closed  bool
}

// userOwned owns the chunks that are somebody's frames.
var userOwned = &pool{}

// Frame is a packet in a UMEM, or a part of one. Whoever has it may write to it
// and make Data begin or end elsewhere in the chunk, then give it to Transmit or
// Free, and not use it any more.
type Frame struct {
	Data []byte // its capacity reaches to the end of the chunk
	// More says that the packet goes on in the next frame (XDP_PKT_CONTD); see [UseSG].
	More  bool
	chunk uint64
}

// NewUMEM makes a UMEM.
func NewUMEM(opts *UMEMOptions) (*UMEM, error) {
	var o UMEMOptions
	if opts != nil {
		o = *opts
	}
	if o.Chunks == 0 {
		o.Chunks = 4096
	}
	if o.ChunkSize == 0 {
		o.ChunkSize = 4096
	}
	stride := o.ChunkSize
	if o.Unaligned {
		stride += stride & 1 // the kernel gives odd addresses back without their lowest bit
	}
	if o.Chunks < 0 || o.ChunkSize < 0 || o.Headroom < 0 || o.ChunkSize > 1<<20 || int64(o.Chunks) > min(1<<40, math.MaxInt)/int64(stride) {
		return nil, fmt.Errorf("xsk: a UMEM of %d chunks of %d bytes, %d of them headroom", o.Chunks, o.ChunkSize, o.Headroom)
	}
	area, err := afxdp.NewArea(o.Chunks * stride)
	if err != nil {
		return nil, fmt.Errorf("xsk: UMEM: %w", err)
	}
	u := &UMEM{
		area: area, stride: uint64(stride), pools: map[poolKey]*pool{},
		reg:  afxdp.Reg{ChunkSize: uint32(o.ChunkSize), Headroom: uint32(o.Headroom)},
		base: uintptr(unsafe.Pointer(unsafe.SliceData(area.Bytes()))),
		free: make([]uint64, 0, o.Chunks), owner: make([]*pool, o.Chunks),
	}
	if o.Unaligned {
		u.reg.Flags = afxdp.Unaligned
	}
	for i := o.Chunks - 1; i >= 0; i-- {
		u.free = append(u.free, uint64(i*stride))
	}
	return u, nil
}

// Close gives the memory back. All sockets that use it are closed before; frames
// and what they hold are gone with it.
func (u *UMEM) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.sockets) > 0 {
		return fmt.Errorf("xsk: close UMEM: %d sockets use it: close them before", len(u.sockets))
	}
	if !u.closed {
		u.closed = true
		u.free = nil
		u.area.Close()
	}
	return nil
}

// Available is how many chunks are free.
func (u *UMEM) Available() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.free)
}

// Alloc makes frames of free chunks, each with as much Data as it holds behind
// the UMEM's headroom, and returns how many there were.
func (u *UMEM) Alloc(frames []Frame) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := min(len(frames), len(u.free))
	for i := range frames[:n] {
		c := u.pop(userOwned)
		frames[i] = Frame{Data: u.bytes(c+uint64(u.reg.Headroom), c+uint64(u.reg.ChunkSize), c), chunk: c}
	}
	return n
}

// Free gives frames back. Those that are not the caller's any more stay where they are.
func (u *UMEM) Free(frames ...Frame) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range frames {
		if u.owns(f) {
			u.push(f.chunk)
		}
	}
}

// pop takes a free chunk for an owner, push frees one; both under mu.
func (u *UMEM) pop(to *pool) uint64 {
	c := u.free[len(u.free)-1]
	u.free = u.free[:len(u.free)-1]
	u.owner[c/u.stride] = to
	return c
}

func (u *UMEM) push(c uint64) {
	u.owner[c/u.stride] = nil
	u.free = append(u.free, c)
}

// owns reports whether a frame is somebody's still; under mu.
func (u *UMEM) owns(f Frame) bool {
	i := f.chunk / u.stride
	return !u.closed && cap(f.Data) > 0 && i < uint64(len(u.owner)) && u.owner[i] == userOwned
}

// bytes returns the memory from one address to another in the chunk c, with the
// chunk's end for capacity.
func (u *UMEM) bytes(from, to, c uint64) []byte {
	return u.area.Bytes()[from:to:min(c+u.stride, c+uint64(u.reg.ChunkSize))]
}

// chunkOf returns the chunk an address of a ring is in.
func (u *UMEM) chunkOf(addr uint64) uint64 {
	if u.reg.Flags&afxdp.Unaligned != 0 {
		addr &= 1<<48 - 1
	}
	return addr - addr%u.stride
}

// received makes a frame of a descriptor of an rx ring.
func (u *UMEM) received(d afxdp.Desc) Frame {
	c, at := u.chunkOf(d.Addr), d.Addr
	if u.reg.Flags&afxdp.Unaligned != 0 {
		at = d.Start()
	}
	return Frame{Data: u.bytes(at, at+uint64(d.Len), c), More: d.Options&afxdp.Continued != 0, chunk: c}
}

var errNotOurs = errors.New("it is not a frame of this UMEM, or was given away before")

// desc makes a descriptor of a frame; under mu.
func (u *UMEM) desc(f Frame) (afxdp.Desc, error) {
	off := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))-u.base) - f.chunk
	switch {
	case !u.owns(f):
		return afxdp.Desc{}, errNotOurs
	case len(f.Data) == 0:
		return afxdp.Desc{}, errors.New("it has no data")
	case off+uint64(len(f.Data)) > uint64(u.reg.ChunkSize) || off > uint64(u.reg.ChunkSize):
		return afxdp.Desc{}, errors.New("its data are not in its chunk: copy them there")
	}
	d := afxdp.Desc{Addr: f.chunk + off, Len: uint32(len(f.Data))}
	if u.reg.Flags&afxdp.Unaligned != 0 {
		d.Addr = f.chunk | off<<48
	}
	if f.More {
		d.Options = afxdp.Continued
	}
	return d, nil
}
