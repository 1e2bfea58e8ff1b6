package classic

import "encoding/binary"

// A netlink attribute (struct nlattr), in the machine's byte order:
//
//	 0        2        4
//	┌────────┬────────┬──────────────┬─────────┐
//	│ length │ type   │ payload …    │ padding │  to the next multiple of 4
//	└────────┴────────┴──────────────┴─────────┘
//
// length counts header and payload. The upper two bits of type are flags.
const (
	attributeHeader = 4
	attributeType   = 0x3fff
)

// attribute returns the offset of the first attribute of type typ at or behind
// offset at, 0 if there is none (bpf_skb_get_nlattr).
func attribute(packet []byte, at, typ uint32) uint32 {
	if len(packet) < attributeHeader || uint64(at) > uint64(len(packet)-attributeHeader) {
		return 0
	}
	return findAttribute(packet, int(at), len(packet), typ)
}

// nestedAttribute does so within the attribute at offset at
// (bpf_skb_get_nlattr_nest).
func nestedAttribute(packet []byte, at, typ uint32) uint32 {
	if len(packet) < attributeHeader || uint64(at) > uint64(len(packet)-attributeHeader) {
		return 0
	}
	length := int(binary.NativeEndian.Uint16(packet[at:]))
	if length < attributeHeader || length > len(packet)-int(at) {
		return 0
	}
	return findAttribute(packet, int(at)+attributeHeader, int(at)+length, typ)
}

// findAttribute walks the attributes in packet[at:end].
func findAttribute(packet []byte, at, end int, typ uint32) uint32 {
	for end-at >= attributeHeader {
		length := int(binary.NativeEndian.Uint16(packet[at:]))
		if length < attributeHeader || length > end-at {
			return 0
		}
		if uint32(binary.NativeEndian.Uint16(packet[at+2:])&attributeType) == typ {
			return uint32(at)
		}
		at += (length + 3) &^ 3
	}
	return 0
}
