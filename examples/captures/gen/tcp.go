package main

import (
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// mss is the most payload one segment of a conversation carries, in bytes.
const mss = 1400

// tcpConn is a TCP conversation: every segment carries the numbers a real stack would send.
type tcpConn struct {
	s              *scene
	client, server tcpEnd
}

// tcpEnd is one side's address, port and next sequence number.
type tcpEnd struct {
	host
	port uint16
	seq  uint32
}

// tcp starts a conversation; nothing is sent before open.
func (s *scene) tcp(client, server host, sport, dport uint16) *tcpConn {
	return &tcpConn{
		s:      s,
		client: tcpEnd{client, sport, 0x10000000 | uint32(sport)},
		server: tcpEnd{server, dport, 0x20000000 | uint32(sport)},
	}
}

// segment sends one segment from one end to the other and advances the sequence number.
func (c *tcpConn) segment(from, to *tcpEnd, flags layers.TCP, payload []byte) {
	seg := flags
	seg.SrcPort, seg.DstPort = layers.TCPPort(from.port), layers.TCPPort(to.port)
	seg.Seq, seg.Window = from.seq, 64240
	if seg.ACK {
		seg.Ack = to.seq
	}
	if seg.SYN {
		seg.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{mss >> 8, mss & 0xff}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		}
	}
	ip, typ := c.s.ip(from.host, to.host, layers.IPProtocolTCP)
	seg.SetNetworkLayerForChecksum(ip)
	c.s.ethernet(from.mac, to.mac, typ, ip, &seg, gopacket.Payload(payload))
	from.seq += uint32(len(payload))
	if seg.SYN || seg.FIN {
		from.seq++
	}
}

// open is the three-way handshake, a round trip of 12 ms.
func (c *tcpConn) open() {
	c.segment(&c.client, &c.server, layers.TCP{SYN: true}, nil)
	c.s.wait(12 * time.Millisecond)
	c.segment(&c.server, &c.client, layers.TCP{SYN: true, ACK: true}, nil)
	c.segment(&c.client, &c.server, layers.TCP{ACK: true}, nil)
}

// request sends data from the client, reply from the server, each acknowledged by the other end.
func (c *tcpConn) request(data []byte) { c.send(&c.client, &c.server, data) }
func (c *tcpConn) reply(data []byte)   { c.send(&c.server, &c.client, data) }

func (c *tcpConn) send(from, to *tcpEnd, data []byte) {
	for len(data) > 0 {
		n := min(len(data), mss)
		c.segment(from, to, layers.TCP{ACK: true, PSH: n == len(data)}, data[:n])
		data = data[n:]
	}
	c.segment(to, from, layers.TCP{ACK: true}, nil)
}

// close is the client's FIN, the server's, and the last acknowledgement.
func (c *tcpConn) close() {
	c.segment(&c.client, &c.server, layers.TCP{FIN: true, ACK: true}, nil)
	c.segment(&c.server, &c.client, layers.TCP{FIN: true, ACK: true}, nil)
	c.segment(&c.client, &c.server, layers.TCP{ACK: true}, nil)
}

// refused is a SYN answered by a reset.
func (c *tcpConn) refused() {
	c.segment(&c.client, &c.server, layers.TCP{SYN: true}, nil)
	c.segment(&c.server, &c.client, layers.TCP{RST: true, ACK: true}, nil)
}
