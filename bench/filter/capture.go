package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// capture is a file of traffic.
type capture struct {
	name string // for people
	file string
	snap int
}

var captures = []capture{
	{"full-size packets", "full.pcap", 262144},
	{"96 bytes of each", "snap96.pcap", 96},
}

// make writes the capture to dir unless it is there, and returns its path.
func (c *capture) make(dir string, size int64) (string, error) {
	path := filepath.Join(dir, c.file)
	if st, err := os.Stat(path); err == nil && st.Size() >= size {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = c.write(w, size)
	if err == nil {
		err = w.Flush()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		os.Remove(path)
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return path, nil
}

func (c *capture) write(w io.Writer, size int64) error {
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(c.snap))
	head = binary.LittleEndian.AppendUint32(head, 1) // Ethernet
	if _, err := w.Write(head); err != nil {
		return err
	}
	packets := traffic()
	r := rand.New(rand.NewPCG(3, 4))
	var record []byte
	for n := int64(0); n < size; n += int64(len(record)) {
		p := packets[r.IntN(len(packets))]
		kept := p[:min(len(p), c.snap)]
		record = record[:0]
		for _, v := range [...]int64{1_700_000_000 + n>>20, n & 0xfffff % 1_000_000, int64(len(kept)), int64(len(p))} {
			record = binary.LittleEndian.AppendUint32(record, uint32(v))
		}
		record = append(record, kept...)
		if _, err := w.Write(record); err != nil {
			return err
		}
	}
	return nil
}

// traffic draws packets as a link to a data centre has them: most are full TCP
// segments, some acknowledge, some ask for names, few are not IPv4.
func traffic() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	packets := make([][]byte, 4096)
	for i := range packets {
		packets[i] = draw(r)
	}
	return packets
}

const (
	tcp = 6
	udp = 17
)

func draw(r *rand.Rand) []byte {
	ports := []uint16{443, 443, 443, 443, 80, 80, 8080, 22, 9000, 5432}
	port, other := ports[r.IntN(len(ports))], uint16(32768+r.IntN(28000))
	switch n := r.IntN(100); {
	case n < 80:
		return ethernet(r, n < 4, ip(r, tcp, append(l4(other, port), tcpRest(0x10, 1460)...)))
	case n < 88:
		flags := []byte{0x10, 0x10, 0x10, 0x02, 0x12, 0x11}[r.IntN(6)]
		return ethernet(r, false, ip(r, tcp, append(l4(port, other), tcpRest(flags, 0)...)))
	case n < 94:
		return ethernet(r, n < 90, ip(r, udp, append(l4(other, 53), make([]byte, 40)...)))
	case n < 98: // QUIC
		return ethernet(r, false, ip(r, udp, append(l4(other, 443), make([]byte, 1200)...)))
	}
	arp := make([]byte, 46)
	copy(arp, []byte{0, 1, 8, 0, 6, 4, 0, 1})
	return link(r, 0x0806, arp)
}

func link(r *rand.Rand, typ uint16, payload []byte) []byte {
	p := []byte{2, 0, 0, 0, 0, byte(r.Uint32()), 2, 0, 0, 0, 1, byte(r.Uint32())}
	return append(binary.BigEndian.AppendUint16(p, typ), payload...)
}

func ethernet(r *rand.Rand, vlan bool, packet []byte) []byte {
	if !vlan {
		return link(r, 0x0800, packet)
	}
	return link(r, 0x8100, append([]byte{0, 7, 8, 0}, packet...))
}

func ip(r *rand.Rand, protocol byte, payload []byte) []byte {
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	networks := []byte{10, 10, 192, 203}
	for _, at := range []int{12, 16} {
		binary.BigEndian.PutUint32(h[at:], r.Uint32())
		h[at] = networks[r.IntN(len(networks))]
	}
	return append(h, payload...)
}

// l4 is the first eight bytes of a TCP or UDP header.
func l4(from, to uint16) []byte {
	h := binary.BigEndian.AppendUint16(nil, from)
	return append(binary.BigEndian.AppendUint16(h, to), 0, 0, 0, 1)
}

// tcpRest is the rest of a TCP header, and a payload.
func tcpRest(flags byte, payload int) []byte {
	h := make([]byte, 12+payload)
	h[4], h[5], h[6], h[7] = 0x50, flags, 0xff, 0xff
	return h
}
