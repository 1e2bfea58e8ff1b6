package filter

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/capture"
)

// Blocks that are written where packets of another kind of file go into a
// pcapng file, in the machine's byte order.

func appendWords(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

// appendSection appends a section header of unknown length.
func appendSection(b []byte) []byte {
	b = appendWords(b, blockSection, 28, 0x1a2b3c4d)
	b = binary.NativeEndian.AppendUint16(b, 1)
	b = binary.NativeEndian.AppendUint16(b, 0)
	return appendWords(b, 0xffffffff, 0xffffffff, 28)
}

// appendInterface appends an interface whose times are nanoseconds.
func appendInterface(b []byte, link uint32) []byte {
	b = appendWords(b, blockInterface, 32)
	b = binary.NativeEndian.AppendUint16(b, uint16(link))
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = appendWords(b, capture.MaxPacket)
	b = binary.NativeEndian.AppendUint16(b, optionTsResol)
	b = binary.NativeEndian.AppendUint16(b, 1)
	b = append(b, 9, 0, 0, 0) // 10^-9 s
	b = appendWords(b, optionEnd)
	return appendWords(b, 32)
}

// appendEnhanced appends a packet.
func appendEnhanced(b []byte, iface uint32, sec, nsec int64, data []byte, wire int) []byte {
	ns := uint64(sec)*1e9 + uint64(nsec)
	length := uint32(32 + (len(data)+3)&^3)
	b = appendWords(b, blockEnhanced, length, iface, uint32(ns>>32), uint32(ns), uint32(len(data)), uint32(wire))
	b = append(b, data...)
	b = append(b, make([]byte, -len(data)&3)...)
	return appendWords(b, length)
}
