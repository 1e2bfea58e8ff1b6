package hook

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep"
)

// Of a TCP header: its lengths in bytes, and options.
const (
	tcpHeaderMin = 20
	tcpHeaderMax = 60
	tcpOptionEnd = 0
	tcpOptionNop = 1
	tcpOptionExp = 254
	tcpFastOpen  = 0xf989 // magic numbers of experiments
	tcpFlagsMask = 0x1ff  // nine bits, from AE on
)

// What a call about header options is for (BPF_WRITE_HDR_TCP_*).
const headerCurrentMSS = 1

// header returns the length of a segment's header and its flags.
func header(segment []byte) (int, uint16, error) {
	if len(segment) < tcpHeaderMin {
		return 0, 0, fmt.Errorf("hook sockops: a segment of %d bytes, less than a TCP header: %w", len(segment), eINVAL)
	}
	n := int(segment[12]>>4) * 4
	if n < tcpHeaderMin || n > len(segment) {
		return 0, 0, fmt.Errorf("hook sockops: a segment of %d bytes with a TCP header of %d: %w", len(segment), n, eINVAL)
	}
	return n, binary.BigEndian.Uint16(segment[12:]) & tcpFlagsMask, nil
}

// arrived is a call for a segment that has come.
func arrived(op uint32, segment []byte) (skep.TCPOpsCall, error) {
	n, flags, err := header(segment)
	return skep.TCPOpsCall{Op: op, Segment: segment, Seen: n, Flags: flags}, err
}

// Received shows the header of a segment that has come to who wants to see it: all, or those with unknown options.
// Segments that establish the connection go to Established and Accept instead.
func (o *SockOps) Received(segment []byte) error {
	c, err := arrived(opParseHeader, segment)
	switch s := o.ops.Socket.State; {
	case err != nil:
		return err
	case s == TCPSynSent, s == TCPSynRecv, s == TCPListen, s == TCPNewSynRecv:
		return nil
	case !o.wants(SockOpsParseAll) && !(o.wants(SockOpsParseUnknown) && hasUnknown(segment[tcpHeaderMin:c.Seen])):
		return nil
	}
	_, err = o.call(c)
	return err
}

// hasUnknown looks for options that TCP does not know (tcp_parse_options).
func hasUnknown(opts []byte) bool {
	for len(opts) > 0 {
		switch opts[0] {
		case tcpOptionEnd:
			return false
		case tcpOptionNop:
			opts = opts[1:]
			continue
		}
		if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
			return false
		}
		n := int(opts[1])
		switch opts[0] {
		case 2, 3, 4, 5, 8, 19, 29, 34: // MSS, window scale, SACK permitted, SACK, timestamps, MD5, AO, fast open
		case tcpOptionExp:
			if n < 4 || binary.BigEndian.Uint16(opts[2:]) != tcpFastOpen {
				return true
			}
		default:
			return true
		}
		opts = opts[n:]
	}
	return false
}

// Send has programs put options into the header of a segment that is to be sent: they reserve room for
// them, then write them. It returns the segment with them. For a request it asks for ECN too, after that.
func (o *SockOps) Send(segment []byte) (out []byte, ecn bool, err error) {
	n, flags, err := header(segment)
	if err != nil {
		return nil, false, err
	}
	kept := o.ops.Syn
	if o.syn != nil {
		o.ops.Syn, o.syn = o.syn, nil
	}
	out = segment
	if o.wants(SockOpsWriteHeader) && n < tcpHeaderMax {
		if out, err = o.write(segment, n, flags); err != nil {
			return nil, false, err
		}
	}
	o.ops.Syn = kept
	if o.ops.Socket.State == TCPNewSynRecv {
		ecn, err = o.NeedsECN()
	}
	return out, ecn, err
}

// write follows bpf_skops_hdr_opt_len and bpf_skops_write_hdr_opt.
func (o *SockOps) write(segment []byte, n int, flags uint16) ([]byte, error) {
	// There is no header yet, when room is asked for.
	payload := append([]byte{}, segment[n:]...)
	r, err := o.call(skep.TCPOpsCall{Op: opHeaderLength, Segment: payload, Flags: flags, Room: uint32(tcpHeaderMax - n)})
	if err != nil || r.Used == 0 {
		return segment, err
	}
	room := int(r.Used+3) &^ 3
	full := append(append(append([]byte{}, segment[:n]...), make([]byte, room)...), payload...)
	full[12] = full[12]&0xf | byte((n+room)/4)<<4
	if r, err = o.call(skep.TCPOpsCall{Op: opWriteHeader, Segment: full, Seen: n, Flags: flags, Room: uint32(room)}); err != nil {
		return nil, err
	}
	full = r.Segment
	for i := n + int(r.Used); i < n+room; i++ {
		full[i] = tcpOptionNop
	}
	return full, nil
}

// HeaderRoom asks, for the size of segments to come, how many bytes of room programs would take in a header, where there are
// so many for options.
func (o *SockOps) HeaderRoom(room uint32) (uint32, error) {
	if !o.wants(SockOpsWriteHeader) || room == 0 {
		return 0, nil
	}
	r, err := o.call(skep.TCPOpsCall{Op: opHeaderLength, Args: [4]uint32{headerCurrentMSS}, Room: room})
	return (r.Used + 3) &^ 3, err
}
