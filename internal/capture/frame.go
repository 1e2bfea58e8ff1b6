package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// Ethernet frame types that IP behind other link layers stands for.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// ethernetHeader is the length of an Ethernet header in bytes.
const ethernetHeader = 14

// Frame returns the packet as an Ethernet frame, which is what programs see.
// Where the capture has another link layer, that is taken off and a header with
// zero addresses put in its place, in buf when it is large enough. What holds
// no IP cannot be framed.
func (p Packet) Frame(buf []byte) ([]byte, error) {
	if p.LinkType == Ethernet {
		return p.Data, nil
	}
	strip, ok := linkLayers[p.LinkType]
	if !ok {
		return nil, fmt.Errorf("link type %v: programs see Ethernet frames, and these cannot be made such", p.LinkType)
	}
	typ, rest, ok := strip(p.Data)
	if !ok {
		return nil, fmt.Errorf("link type %v: a packet of %d bytes that holds no IP", p.LinkType, len(p.Data))
	}
	buf = append(buf[:0], make([]byte, ethernetHeader)...)
	binary.BigEndian.PutUint16(buf[12:], typ)
	return append(buf, rest...), nil
}

// linkLayers find the Ethernet type and the payload behind other link layers.
var linkLayers = map[LinkType]func([]byte) (typ uint16, rest []byte, ok bool){
	layers.LinkTypeRaw:      bareIP,
	12:                      bareIP, // LINKTYPE_RAW as written on most systems
	layers.LinkTypeIPv4:     bareIP,
	layers.LinkTypeIPv6:     bareIP,
	layers.LinkTypeNull:     loopback,
	layers.LinkTypeLoop:     loopback,
	layers.LinkTypeLinuxSLL: cooked,
	276:                     cooked2, // LINKTYPE_LINUX_SLL2
}

// bareIP looks at the version in the first four bits.
func bareIP(b []byte) (uint16, []byte, bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	switch b[0] >> 4 {
	case 4:
		return etherIPv4, b, true
	case 6:
		return etherIPv6, b, true
	}
	return 0, nil, false
}

// loopback has four bytes of address family, whose numbers and order differ by
// system; the payload itself says more.
func loopback(b []byte) (uint16, []byte, bool) {
	if len(b) < 4 {
		return 0, nil, false
	}
	return bareIP(b[4:])
}

// cooked is Linux's header of 16 bytes, the frame type last; cooked2 its
// successor of 20, the frame type first.
func cooked(b []byte) (uint16, []byte, bool) {
	if len(b) < 16 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b[14:]), b[16:], true
}

func cooked2(b []byte) (uint16, []byte, bool) {
	if len(b) < 20 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[20:], true
}
