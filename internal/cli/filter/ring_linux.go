package filter

import (
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shape of the ring: what one block holds bounds a packet, and what all hold
// how long this side may be away. A block that fills slowly is handed over
// after a while.
const (
	ringBlock  = 512 << 10 // bytes
	ringBlocks = 32
	ringFrame  = 2 << 10 // TPACKET_V3 asks for it and packs packets anyhow
	ringRetire = 50 * time.Millisecond
	ringRoom   = 32 // bytes kept free before every packet, for headers put back
)

// ring is the memory a packet socket shares with the kernel (packet(7),
// Documentation/networking/packet_mmap.rst, TPACKET_V3): blocks that belong to
// one side at a time, each with as many packets as came while it was filled.
//
//	┌ block ────────────┬────────┬──────┬───────────────┬──────────────────┬───┐
//	│ TpacketBlockDesc: │ header │ room │ packet, from  │ header           │ … │
//	│ status, packets,  │        │      │ header + Mac  │ + Next_offset    │   │
//	│ where the first   │        │      │               │                  │   │
//	└───────────────────┴────────┴──────┴───────────────┴──────────────────┴───┘
type ring struct {
	fd    int
	mem   []byte
	block int    // that is or will be read
	left  uint32 // packets in it that were not yet taken
	at    int    // the next one's header, from the start of mem
	held  bool   // the block is ours
}

// newRing gives a packet socket its ring, before it is bound.
func newRing(fd int) (*ring, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_RESERVE, ringRoom); err != nil {
		return nil, err
	}
	req := unix.TpacketReq3{
		Block_size: ringBlock, Block_nr: ringBlocks,
		Frame_size: ringFrame, Frame_nr: ringBlock / ringFrame * ringBlocks,
		Retire_blk_tov: uint32(ringRetire.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, ringBlock*ringBlocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &ring{fd: fd, mem: mem}, nil
}

func (r *ring) close() error { return unix.Munmap(r.mem) }

// desc is the header of the current block. Sound: blocks begin at multiples of
// their size in a mapping of pages, and the kernel laid them out so.
func (r *ring) desc() *unix.TpacketHdrV1 {
	b := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[r.block*ringBlock]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&b.Hdr))
}

// next returns the header of the next packet, and the packet behind ringRoom
// bytes to write on; nil where none came for the given time. Both are valid until
// the call after.
func (r *ring) next(wait time.Duration) (h *unix.Tpacket3Hdr, packet []byte, err error) {
	for r.left == 0 {
		if r.held {
			r.held = false
			atomic.StoreUint32(&r.desc().Block_status, unix.TP_STATUS_KERNEL)
			r.block = (r.block + 1) % ringBlocks
		}
		d := r.desc()
		if atomic.LoadUint32(&d.Block_status)&unix.TP_STATUS_USER == 0 {
			if ok, err := r.poll(wait); !ok {
				return nil, nil, err
			}
			continue
		}
		r.held, r.left, r.at = true, d.Num_pkts, r.block*ringBlock+int(d.Offset_to_first_pkt)
	}
	// Sound: the kernel aligns headers to 16 bytes within a block.
	h = (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.at]))
	at := r.at + int(h.Mac)
	r.left--
	r.at += int(h.Next_offset)
	return h, r.mem[at-ringRoom : at+int(h.Snaplen)], nil
}

// address is the one that lies behind the header of a packet. Sound: the
// kernel writes one there for every packet, as aligned as the header.
func address(h *unix.Tpacket3Hdr) *unix.RawSockaddrLinklayer {
	return (*unix.RawSockaddrLinklayer)(unsafe.Add(unsafe.Pointer(h), unix.SizeofTpacket3Hdr))
}

// poll waits for a block; ok is false where none came.
func (r *ring) poll(wait time.Duration) (ok bool, err error) {
	p := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, int(wait.Milliseconds()))
	switch {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, err
	case n > 0 && p[0].Revents&unix.POLLIN == 0:
		no, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR) // the device went down, or away
		if err == nil && no != 0 {
			err = unix.Errno(no)
		}
		return false, err
	}
	return n > 0, nil
}

// dropped returns how many packets found no room since the last call.
func (r *ring) dropped() (uint64, error) {
	st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, err
	}
	return uint64(st.Drops), nil
}
