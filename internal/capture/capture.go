// Package capture streams packets out of and into capture files: pcap of either
// byte order with microseconds or nanoseconds, and pcapng with its interfaces
// and sections, plain or packed with gzip or Zstandard.
//
// Files are foreign bytes. Memory does not grow with the file, no length in it
// is believed before it is checked, and a damaged file gives every packet before
// the damage and then one [Error] that says where and what it is.
//
// Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// MaxPacket is the longest packet a file may hold, in bytes: libpcap's MAXIMUM_SNAPLEN.
const MaxPacket = 262144

// LinkType says what a packet begins with (LINKTYPE_* of tcpdump.org/linktypes.html).
type LinkType = layers.LinkType

// Link types that commands ask for by name.
const (
	Ethernet = layers.LinkTypeEthernet
)

// Packet is one captured packet.
type Packet struct {
	Data      []byte    // what was captured; valid until the next call of Next
	Length    int       // bytes on the wire, at least len(Data)
	Time      time.Time // zero where the file has none (pcapng's simple packets)
	Interface int       // index within its pcapng section, 0 in pcap
	LinkType  LinkType
}

// What is wrong with a file, for errors.Is.
var (
	// ErrFormat: the file is not a capture, or one of a kind that is not read.
	ErrFormat = errors.New("not a pcap or pcapng file")
	// ErrTruncated: the file ends within a packet.
	ErrTruncated = errors.New("file is cut short")
	// ErrDamaged: lengths contradict each other or go beyond every limit.
	ErrDamaged = errors.New("file is damaged")
)

// Error is a fault of a file's content. Packets before Offset were delivered.
type Error struct {
	Name   string // the file
	Offset int64  // of the record or block at fault, in bytes
	Packed bool   // Offset counts unpacked bytes
	Packet int    // packets delivered before
	Err    error  // one of the package's sentinels
	Reason string // what is there, with figures
}

func (e *Error) Error() string {
	where := "offset"
	if e.Packed {
		where = "unpacked offset"
	}
	return fmt.Sprintf("%s: %s %d: %v: %s%s", e.Name, where, e.Offset, e.Err, e.Reason, e.advice())
}

// advice says what of the file is still good.
func (e *Error) advice() string {
	before := fmt.Sprintf("its first %d packets", e.Packet)
	switch e.Packet {
	case 0:
		before = "nothing in it"
	case 1:
		before = "its first packet"
	}
	switch {
	case errors.Is(e.Err, ErrTruncated) && e.Packet < 2:
		return "; " + before + " is whole"
	case errors.Is(e.Err, ErrTruncated):
		return "; " + before + " are whole"
	case errors.Is(e.Err, ErrDamaged) && e.Packet == 0:
		return "; nothing in it can be trusted"
	case errors.Is(e.Err, ErrDamaged):
		return "; only " + before + " can be trusted"
	}
	return ""
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }
