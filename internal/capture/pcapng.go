package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/gopacket/gopacket/pcapgo"
)

// Block types of pcapng that carry packets or say how to read them.
const (
	blockInterface = 1
	blockOldPacket = 2
	blockSimple    = 3
	blockEnhanced  = 6
	blockSection   = magicNG
)

// Limits of pcapng blocks. Blocks that are passed over may have any length.
const (
	maxInterfaces = 1024
	maxOptions    = 64 << 10 // bytes of options behind a packet or an interface
	byteOrder     = 0x1a2b3c4d
)

// pcapNG is the block format, read by pcapgo behind a blocks filter.
type pcapNG struct {
	r      *pcapgo.NgReader
	br     *bufio.Reader // between the two
	blocks *blocks
}

func newPcapNG(br *bufio.Reader) (format, error) {
	b := &blocks{r: br}
	p := &pcapNG{br: bufio.NewReaderSize(b, bufferSize), blocks: b}
	var err error
	p.r, err = pcapgo.NewNgReader(p.br, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, p.explain(err)
	}
	return p, nil
}

func (p *pcapNG) offset() int64 { return p.blocks.start }

func (p *pcapNG) next() (Packet, error) {
	p.blocks.packet = false
	data, ci, err := p.r.ZeroCopyReadPacketData()
	if err != nil {
		return Packet{}, p.explain(err)
	}
	// pcapgo reads a block to its end, unless options led it astray.
	if p.br.Buffered() != 0 || p.blocks.left != 0 {
		return Packet{}, errAstray
	}
	link, ok := ci.AncillaryData[0].(LinkType)
	if !ok {
		panic("BUG: pcapgo gives the link type of mixed captures")
	}
	return Packet{Data: data, Length: max(ci.Length, len(data)), Time: ci.Timestamp, Interface: ci.InterfaceIndex, LinkType: link}, nil
}

// errAstray: a length within a block leads beyond the block, or not to its end.
var errAstray = damaged("the options of a block do not end where it does")

// explain prefers what the filter found to what pcapgo made of it.
func (p *pcapNG) explain(err error) error {
	switch {
	case p.blocks.err != nil:
		return p.blocks.err
	case errors.Is(err, io.EOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF): // though the last block was whole
		p.blocks.start = p.blocks.passed
		return errAstray
	case errors.Is(err, pcapgo.ErrNgVersionMismatch):
		return &fault{ErrFormat, "a pcapng section of a version other than 1.0"}
	}
	return damaged("%v", err)
}

// blocks passes a pcapng stream on block by block, having checked each block's
// lengths, and leaves out the blocks that say nothing about packets (names,
// secrets, statistics, the unknown ones), of which pcapgo would keep a store.
//
//	 type      length                         length again
//	┌─────────┬─────────┬────────────────────┬─────────┐
//	│ 4 bytes │ 4       │ body, 4-aligned    │ 4       │
//	└─────────┴─────────┴────────────────────┴─────────┘
//
// One Read never crosses the end of a block.
type blocks struct {
	r          *bufio.Reader
	order      binary.ByteOrder
	start      int64 // offset of the current block
	passed     int64 // of the last one passed on
	packet     bool  // that one, or one since the reader's last packet, holds a packet
	end        int64 // offset of the next
	left       int   // bytes of the current block not yet passed on
	length     uint32
	interfaces int    // of the current section
	snap       uint32 // snap length of the section's first, 0 for none
	err        error  // what ended the stream, io.EOF apart
}

func (b *blocks) Read(p []byte) (int, error) {
	for b.left == 0 {
		if err := b.next(); err != nil {
			if !errors.Is(err, io.EOF) {
				b.err = err
			}
			return 0, err
		}
	}
	n := min(len(p), b.left)
	if b.left > 4 { // the trailing length passes in a piece, once compared
		n = min(n, b.left-4)
	} else if err := b.checkTrailer(); err != nil {
		b.err = err
		return 0, err
	}
	n, err := b.r.Read(p[:n])
	b.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
		b.err = err
	}
	return n, err
}

// checkTrailer compares a block's second length with its first.
func (b *blocks) checkTrailer() error {
	if b.left < 4 {
		return nil // begun already
	}
	tail, err := b.r.Peek(4)
	if err != nil {
		return cut(err)
	}
	if again := b.order.Uint32(tail); again != b.length {
		return damaged("a block of %d bytes says at its end that it has %d", b.length, again)
	}
	return nil
}

// next finds the next block to pass on.
func (b *blocks) next() error {
	b.start = b.end
	head, err := b.r.Peek(12)
	if len(head) == 0 {
		return err
	}
	if len(head) < 12 {
		return cut(err)
	}
	if binary.LittleEndian.Uint32(head) == blockSection {
		b.interfaces = 0
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == byteOrder:
			b.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == byteOrder:
			b.order = binary.BigEndian
		default:
			return damaged("a section header with byte order % x", head[8:12])
		}
	}
	b.length = b.order.Uint32(head[4:])
	if b.length < 12 || b.length%4 != 0 {
		return damaged("a block of %d bytes: at least 12 and a multiple of 4 it must be", b.length)
	}
	b.end = b.start + int64(b.length)

	typ := b.order.Uint32(head)
	switch typ {
	case blockSection:
		err = b.limit(16+12, maxOptions)
	case blockInterface:
		err = b.checkInterface()
	case blockSimple, blockEnhanced, blockOldPacket:
		if b.packet { // and the reader is still busy with it
			b.start = b.passed
			return errAstray
		}
		b.packet = true
		if typ == blockSimple {
			err = b.checkSimple()
		} else {
			err = b.checkPacket()
		}
	default: // passed over
		for rest := b.length; rest > 0 && err == nil; { // in parts that fit an int of 32 bits
			part := min(rest, 1<<30)
			_, err = b.r.Discard(int(part))
			rest -= part
		}
		return cut(err)
	}
	b.left, b.passed = int(b.length), b.start
	return err
}

// limit refuses a block below its fixed size, or with more than rest bytes behind it.
func (b *blocks) limit(fixed, rest uint32) error {
	if b.length < fixed || b.length-fixed > rest+4 {
		return damaged("a block of %d bytes, where %d to %d are possible", b.length, fixed, fixed+rest)
	}
	return nil
}

func (b *blocks) checkInterface() error {
	const fixed = 20
	if err := b.limit(fixed, maxOptions); err != nil {
		return err
	}
	head, err := b.r.Peek(16)
	if err != nil {
		return cut(err)
	}
	if b.interfaces++; b.interfaces > maxInterfaces {
		return damaged("more than %d interfaces in a section", maxInterfaces)
	}
	if b.interfaces == 1 {
		b.snap = b.order.Uint32(head[12:])
	}
	return nil
}

// checkSimple refuses a simple packet block whose packet, cut to the snap
// length, is longer than the block.
func (b *blocks) checkSimple() error {
	const fixed = 16
	if err := b.limit(fixed, MaxPacket); err != nil {
		return err
	}
	head, err := b.r.Peek(12)
	if err != nil {
		return cut(err)
	}
	captured := b.order.Uint32(head[8:])
	if b.snap != 0 {
		captured = min(captured, b.snap)
	}
	if room := b.length - fixed; captured > room {
		return damaged("a packet of %d bytes in a block that holds %d", captured, room)
	}
	return nil
}

// checkPacket refuses an enhanced (or old) packet block whose packet is longer than the block.
func (b *blocks) checkPacket() error {
	const fixed = 32 // type, length, interface, time, captured, length, …, length again
	if err := b.limit(fixed, MaxPacket+maxOptions); err != nil {
		return err
	}
	head, err := b.r.Peek(28)
	if err != nil {
		return cut(err)
	}
	captured := b.order.Uint32(head[20:])
	if captured > MaxPacket {
		return damaged("a packet of %d bytes, more than the %d any capture has", captured, MaxPacket)
	}
	if room := b.length - fixed; captured > room {
		return damaged("a packet of %d bytes in a block that holds %d", captured, room)
	}
	return nil
}

// cut turns the end of the stream within a block into the error for that.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
