package capture

import (
	"bufio"
	"errors"
	"io"

	"github.com/gopacket/gopacket/pcapgo"
)

// Sizes of pcap's headers, in bytes.
const (
	pcapFileHeader   = 24
	pcapRecordHeader = 16
)

// pcap is the classic format: a header and records.
//
//	 seconds   µs or ns   captured   on the wire
//	┌─────────┬──────────┬──────────┬─────────────┬────────────────┐
//	│ 4 bytes │ 4        │ 4        │ 4           │ captured bytes │
//	└─────────┴──────────┴──────────┴─────────────┴────────────────┘
type pcap struct {
	r    *pcapgo.Reader
	link LinkType
	at   int64
}

func newPcap(br *bufio.Reader) (format, error) {
	if _, err := br.Peek(pcapFileHeader); errors.Is(err, io.EOF) {
		return nil, &fault{ErrTruncated, "it ends within the file header"}
	} else if err != nil {
		return nil, err
	}
	r, err := pcapgo.NewReader(br)
	if err != nil {
		return nil, &fault{ErrFormat, err.Error()}
	}
	// A file may declare any snap length; pcapgo allocates up to it.
	r.SetSnaplen(min(r.Snaplen(), MaxPacket))
	return &pcap{r: r, link: r.LinkType(), at: pcapFileHeader}, nil
}

func (p *pcap) offset() int64 { return p.at }

func (p *pcap) next() (Packet, error) {
	data, ci, err := p.r.ZeroCopyReadPacketData()
	switch {
	case err == nil:
	case ci.CaptureLength > MaxPacket:
		return Packet{}, damaged("a packet of %d bytes, more than the %d any capture has", ci.CaptureLength, MaxPacket)
	case ci.CaptureLength > ci.Length:
		return Packet{}, damaged("%d bytes captured of a packet of %d", ci.CaptureLength, ci.Length)
	case errors.Is(err, io.EOF) && ci.CaptureLength > 0:
		// The file ends right behind a record's header.
		return Packet{}, io.ErrUnexpectedEOF
	default:
		return Packet{}, err
	}
	p.at += pcapRecordHeader + int64(len(data))
	return Packet{Data: data, Length: ci.Length, Time: ci.Timestamp, LinkType: p.link}, nil
}
