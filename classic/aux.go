package classic

// Aux is what a program can learn about a packet besides its bytes. The caller
// fills in what its programs may ask for; a zero field is what the kernel
// would say of a packet without that property.
type Aux struct {
	Length int // length on the wire, where the packet was cut; 0: as long as its bytes

	Protocol      uint16 // Ethernet type, as a number: 0x800
	PacketType    uint8  // PACKET_HOST, …
	IfIndex       uint32 // 0: there is no device, and asking for it or its type ends the program
	HardwareType  uint16 // ARPHRD_* of the device
	Mark          uint32
	Queue         uint16
	RXHash        uint32
	CPU           uint32
	VLANTag       uint16
	VLANTPID      uint16 // 0: no tag was taken off, unless VLANTag is set
	Random        func() uint32
	PayloadOffset func(packet []byte) uint32 // nil: as PayloadOffset finds it, behind Protocol and Network
	Head          []byte                     // what lies before the packet's first byte, if programs may reach it
	Link, Network int                        // where those headers begin, counted from the packet's first byte; may be negative
	NoLinkHeader  bool                       // there is none, and loads from LinkOffset fail
}

// noAux stands for a nil Aux.
var noAux Aux

// ancillary loads ancillary data into A. Where ok is false the program ends and
// returns the value.
func (aux *Aux) ancillary(id Ancillary, packet []byte, a, x uint32) (value uint32, ok bool) {
	switch id {
	case Protocol:
		return uint32(aux.Protocol), true
	case PacketType:
		return uint32(aux.PacketType), true
	case IfIndex:
		if aux.IfIndex == 0 {
			return a, false
		}
		return aux.IfIndex, true
	case HardwareType:
		if aux.IfIndex == 0 {
			return a, false
		}
		return uint32(aux.HardwareType), true
	case NLAttr:
		return attribute(packet, a, x), true
	case NLAttrNest:
		return nestedAttribute(packet, a, x), true
	case Mark:
		return aux.Mark, true
	case Queue:
		return uint32(aux.Queue), true
	case RXHash:
		return aux.RXHash, true
	case CPU:
		return aux.CPU, true
	case ALUXorX:
		return a ^ x, true
	case VLANTag:
		return uint32(aux.VLANTag), true
	case VLANTagPresent:
		if aux.VLANTag != 0 || aux.VLANTPID != 0 {
			return 1, true
		}
		return 0, true
	case VLANTPID:
		return uint32(aux.VLANTPID), true
	case PayloadOffset:
		if aux.PayloadOffset != nil {
			return aux.PayloadOffset(packet), true
		}
		return uint32(FindPayload(packet, aux.Protocol, aux.Network)), true
	case Random:
		if aux.Random != nil {
			return aux.Random(), true
		}
		return 0, true
	}
	panic("BUG: ancillary load without a row")
}

// far returns the size bytes at an offset that the kernel counts from a header
// or before the packet (bpf_skb_load_helper_convert_offset): k is the offset
// as a signed number.
func (aux *Aux) far(packet []byte, k int32, size int) (v uint32, ok bool) {
	at := int(k)
	switch {
	case k >= 0:
	case uint32(k) >= NetworkOffset:
		at += 0x100000 + aux.Network
	case uint32(k) >= LinkOffset && !aux.NoLinkHeader:
		at += 0x200000 + aux.Link
	default:
		return 0, false
	}
	if at < -len(aux.Head) || at > len(packet)-size { // int may have 32 bits
		return 0, false
	}
	for i := at; i < at+size; i++ {
		v <<= 8
		if i < 0 {
			v |= uint32(aux.Head[len(aux.Head)+i])
		} else {
			v |= uint32(packet[i])
		}
	}
	return v, true
}
