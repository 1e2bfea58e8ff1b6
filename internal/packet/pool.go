package packet

import "github.com/skep-bpf/skep/internal/mem"

// Pool hands out frames of one content as the page pool behind a live test run does (net/bpf/test_run.c): a
// page is filled when it is made, and what a program has written there is still there when it is used again.
//
//	Get ◀── cache, last in first out ◀── ring, first in first out ◀── Put
//	             ▲
//	          64 new pages, when both are empty
type Pool struct {
	data   []byte // metadata and packet
	meta   int    // bytes of the former
	cache  []Page
	ring   []Page
	size   int    // of the ring; pages that come back to a full one are given up
	unused []Page // such pages, as memory for new ones
	blocks []*mem.Block
}

// Page is a frame of a Pool.
type Page struct{ addr uint64 }

// Sizes of a pool, in pages and bytes. A page begins with what the kernel keeps beside a frame.
const (
	poolRefill = 64 // PP_ALLOC_CACHE_REFILL
	pageHead   = 112
	// LiveMax is the longest packet, its metadata not counted, that a page takes, in bytes.
	LiveMax = XDPFrameLen - pageHead - XDPHeadroom - xdpTailroom
)

// NewPool makes a pool of frames of data, the first meta bytes of which are metadata, in batches of so many. SetXDP
// must take them, and what follows the metadata is at most LiveMax bytes.
func NewPool(data []byte, meta, batch int) (*Pool, error) {
	if !MetaFits(meta) {
		return nil, &SizeError{"XDP metadata", meta, XDPHeadroom - xdpFrameHdr}
	}
	if len(data)-meta > LiveMax {
		return nil, &SizeError{"packet that is live", len(data) - meta, LiveMax}
	}
	return &Pool{data: data, meta: meta, size: batch}, nil
}

// Get returns a page.
func (p *Pool) Get() (Page, error) {
	if len(p.cache) == 0 {
		n := min(len(p.ring), poolRefill)
		p.cache = append(p.cache, p.ring[:n]...)
		p.ring = append(p.ring[:0], p.ring[n:]...)
	}
	if len(p.cache) == 0 {
		if err := p.refill(); err != nil {
			return Page{}, err
		}
	}
	last := len(p.cache) - 1
	pg := p.cache[last]
	p.cache = p.cache[:last]
	return pg, nil
}

// refill makes new pages.
func (p *Pool) refill() error {
	if len(p.unused) < poolRefill {
		b, err := mem.Alloc(poolRefill * XDPFrameLen)
		if err != nil {
			return err
		}
		p.blocks = append(p.blocks, b)
		for i := range poolRefill {
			p.unused = append(p.unused, Page{b.Addr() + uint64(i)*XDPFrameLen})
		}
	}
	from := len(p.unused) - poolRefill
	for _, pg := range p.unused[from:] {
		f, _ := p.Frame(pg)
		copy(f, p.data)
		p.cache = append(p.cache, pg)
	}
	p.unused = p.unused[:from]
	return nil
}

// Put gives a page back.
func (p *Pool) Put(pg Page) {
	if len(p.ring) < p.size {
		p.ring = append(p.ring, pg)
		return
	}
	p.unused = append(p.unused, pg)
}

// Frame is a page's metadata and packet as SetXDP takes them in place, behind headroom bytes.
func (p *Pool) Frame(pg Page) (f []byte, headroom int) {
	headroom = XDPHeadroom - p.meta // the metadata lies at its end
	start := pageHead + headroom
	return mem.Bytes(pg.addr+uint64(start), XDPFrameLen-start)[:len(p.data)], headroom
}

// Free gives the memory back.
func (p *Pool) Free() {
	for _, b := range p.blocks {
		b.Free()
	}
	*p = Pool{}
}
