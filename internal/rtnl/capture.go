package rtnl

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/serve"
)

// VerbCapture asks for packets as they pass a device: a Capture, and the end of a pipe that they are written to as
// Records. One value comes when the socket is open; what is under way then is ended by hanging up, and the
// last record says how it went.
const VerbCapture = "capture"

// Capture says which packets.
type Capture struct {
	Dev    string                // "": of all devices, from the network header on
	Filter []classic.Instruction `json:",omitempty"` // what runs on them; nil: nothing
}

// Listening is the value that comes when the socket is open.
type Listening struct {
	Down bool // the device is, and nothing passes
}

// Record is a packet on its way to a command.
type Record struct {
	Time     time.Time
	Length   uint32 // of the packet before the filter cut it, in bytes
	Ifindex  uint32
	Protocol uint16 // Ethernet type in host order
	VLANTPID uint16 // of the tag that was taken off; 0: none
	VLANTCI  uint16
	Type     uint8 // PACKET_HOST …
	Addr     [6]byte
	Dropped  uint64 // so far, for want of room
	End      bool   // there are no more, and this is none
	Data     []byte

	behind []byte // Data behind the header
}

// recordHeader is the length of what stands before a record's bytes:
//
//	0         8      12       16       20      24       26     28    30     31    32     38   40        48
//	│ seconds │ nsec │ length │ caught │ index │ prot.  │ TPID │ TCI │ type │ end │ addr │ 0  │ dropped │ bytes …
const recordHeader = 48

// maxRecord is the longest packet, in bytes.
const maxRecord = 1 << 18

func (r *Record) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(r.Time.Unix()))
	for _, v := range []uint32{uint32(r.Time.Nanosecond()), r.Length, uint32(len(r.Data)), r.Ifindex} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint16{r.Protocol, r.VLANTPID, r.VLANTCI} {
		b = le.AppendUint16(b, v)
	}
	end := byte(0)
	if r.End {
		end = 1
	}
	b = append(b, r.Type, end)
	b = append(b, r.Addr[:]...)
	b = append(b, 0, 0)
	b = le.AppendUint64(b, r.Dropped)
	return append(b, r.Data...)
}

// RecordReader reads Records from a pipe.
type RecordReader struct {
	in   *bufio.Reader
	last int // bytes of the record read last
}

// NewRecordReader makes a reader.
func NewRecordReader(from io.Reader) *RecordReader {
	return &RecordReader{in: bufio.NewReaderSize(from, 2*maxRecord)}
}

// Next reads a record, valid until the next one is. After an error that passes, such as that of a
// deadline, it may be called again.
func (rr *RecordReader) Next() (r Record, err error) {
	if rr.last > 0 {
		if _, err := rr.in.Discard(rr.last); err != nil {
			return r, err
		}
		rr.last = 0
	}
	h, err := rr.in.Peek(recordHeader)
	if err != nil {
		return r, err
	}
	le := binary.LittleEndian
	n := le.Uint32(h[16:])
	if n > maxRecord {
		return r, fmt.Errorf("a packet of %d bytes", n)
	}
	r = Record{
		Time: time.Unix(int64(le.Uint64(h)), int64(le.Uint32(h[8:]))), Length: le.Uint32(h[12:]), Ifindex: le.Uint32(h[20:]),
		Protocol: le.Uint16(h[24:]), VLANTPID: le.Uint16(h[26:]), VLANTCI: le.Uint16(h[28:]), Type: h[30], End: h[31] != 0,
		Addr: [6]byte(h[32:]), Dropped: le.Uint64(h[40:]),
	}
	if r.behind, err = rr.in.Peek(recordHeader + int(n)); err != nil {
		return r, err
	}
	r.Data = r.behind[recordHeader:]
	rr.last = len(r.behind)
	return r, nil
}

// Room is the record's bytes behind n bytes to write on, at most 48.
func (r *Record) Room(n int) []byte { return r.behind[recordHeader-n:] }

// captureBuffer is how much waits for a command, in bytes.
const captureBuffer = 16 << 20

// capture answers VerbCapture.
func (s *Server) capture(ctx context.Context, r *serve.Request, send func(any) error) error {
	var a Capture
	if err := r.Decode(&a); err != nil {
		return err
	}
	if len(r.Files) != 1 {
		return refuse(errno.EINVAL, "there is no pipe for the packets")
	}
	opts := &afpacket.Options{Protocol: afpacket.All, Buffer: captureBuffer, Filter: a.Filter}
	var sock *afpacket.Socket
	var err error
	if a.Dev == "" {
		opts.Type = afpacket.Datagram
		sock, err = afpacket.OpenAll(s.net, opts)
	} else {
		s.mu.Lock()
		l := s.named(a.Dev)
		s.mu.Unlock()
		if l == nil {
			return noDevice(a.Dev)
		}
		sock, err = afpacket.Open(l.dev, opts)
	}
	if err != nil {
		return err
	}
	defer sock.Close()
	defer context.AfterFunc(ctx, func() { sock.SetReadDeadline(time.Unix(1, 0)) })()
	if err := send(Listening{Down: sock.Device() != nil && !sock.Device().Up()}); err != nil {
		return err
	}
	return s.copyPackets(ctx, sock, r.Files[0])
}

// grace is how long a command may take for what was seen before it hung up.
const grace = 2 * time.Second

// copyPackets writes what a socket sees, and a last record when the time is over.
func (s *Server) copyPackets(ctx context.Context, sock *afpacket.Socket, to *os.File) error {
	defer context.AfterFunc(ctx, func() { to.SetWriteDeadline(time.Now().Add(grace)) })()
	buf, out := make([]byte, maxRecord), []byte(nil)
	dropped := uint64(0)
	for {
		n, info, err := sock.Receive(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			dropped += sock.Stats().Drops
			_, err := to.Write((&Record{End: true, Dropped: dropped}).append(nil))
			return gone(err)
		case errors.Is(err, errno.ENETDOWN):
			if d := sock.Device(); s.net.Device(d.Index()) != d {
				return refuse(errno.ENODEV, fmt.Sprintf("%s is gone", d.Name()))
			}
			continue // until it is up again
		case err != nil:
			return err
		}
		if info.Type == hook.Outgoing && info.Device.Index() == loopIndex {
			continue // it is seen coming in, too
		}
		dropped += sock.Stats().Drops
		out = (&Record{
			Time: info.Time, Length: uint32(info.Length), Ifindex: info.Device.Index(), Protocol: info.Protocol,
			VLANTPID: info.VLANProto, VLANTCI: info.VLANTCI, Type: uint8(info.Type.Number()), Addr: info.Addr, Dropped: dropped, Data: buf[:n],
		}).append(out[:0])
		if _, err := to.Write(out); err != nil {
			return gone(err)
		}
	}
}

// gone is no error where the reader has gone.
func gone(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return nil
	}
	return err
}
