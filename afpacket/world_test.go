package afpacket_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/lang/pcap"
)

// Addresses of the pair's ends.
const (
	macA = "02:00:00:00:00:0a"
	macB = "02:00:00:00:00:0b"
)

// marker is the protocol of frames that tell when all before them are through.
const marker = 0x88b6

func mac(text string) net.HardwareAddr {
	hw, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return hw
}

func frameOf(dst, src string, protocol uint16, payload []byte) []byte {
	f := append(append([]byte(nil), mac(dst)...), mac(src)...)
	return append(binary.BigEndian.AppendUint16(f, protocol), payload...)
}

// udp is a packet of IPv4 with a datagram of some bytes.
func udp(src, dst byte, sport, dport uint16, n int) []byte {
	b := []byte{0x45, 0, 0, byte(28 + n), 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, src, 10, 0, 0, dst}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+n))
	b = append(b, 0, 0)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

// seen is a packet as a socket saw it.
type seen struct {
	Data                     []byte
	Length, Snaplen, Network int
	VLANProto, VLANTCI       uint16
	Device                   string
	Protocol                 uint16
	Type                     uint32
	Addr                     [6]byte
}

func (s *seen) String() string {
	return fmt.Sprintf("%s type %d proto %04x from %x len %d/%d net %d vlan %x/%x: %x",
		s.Device, s.Type, s.Protocol, s.Addr, s.Snaplen, s.Length, s.Network, s.VLANProto, s.VLANTCI, s.Data)
}

// socket and world are what scenes are played with: skep's or the kernel's.
type socket interface {
	bind(dev string, protocol uint16) error
	ignoreOutgoing() error
	receive() (*seen, error) // nil: nothing is there
	filter(prog []classic.Instruction) error
	program(text string) error
	detach() error
	lock()
	fanout(id uint16, typ afpacket.FanoutType, flags afpacket.FanoutFlags) error
	fanoutFilter(prog []classic.Instruction) error
	fanoutProgram(text string) error
	stats() afpacket.Stats
	send(f []byte) error
	sendTo(p []byte, dev string, protocol uint16, to [6]byte) error
	close()
}

type world interface {
	socket(dev string, typ afpacket.Type, protocol uint16, buffer int) (socket, error)
	send(dev string, f []byte) error // by somebody else
	settle(from string)              // what was sent is through
	attach(dev, at, text string)     // at: xdp, ingress, egress
	detach(dev, at string)
	up(dev string, up bool)
}

// withIndexes puts devices' indexes into a program's text.
func withIndexes(text string, index map[string]int) string {
	for name, i := range index {
		text = strings.ReplaceAll(text, "$"+name, fmt.Sprint(i))
	}
	return text
}

// script plays a scene and writes down what comes of it.
type script struct {
	t   *testing.T
	w   world
	log []string
	all []named
}

type named struct {
	name string
	socket
}

func play(t *testing.T, w world, f func(s *script)) []string {
	s := &script{t: t, w: w}
	f(s)
	return s.log
}

func (s *script) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// open opens a socket that look looks at.
func (s *script) open(name, dev string, typ afpacket.Type, protocol uint16) socket {
	return s.openBuffer(name, dev, typ, protocol, 0)
}

func (s *script) openBuffer(name, dev string, typ afpacket.Type, protocol uint16, buffer int) socket {
	k, err := s.w.socket(dev, typ, protocol, buffer)
	if err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	s.all = append(s.all, named{name, k})
	return k
}

// look notes what all sockets have received.
func (s *script) look() {
	for _, k := range s.all {
		for {
			got, err := k.receive()
			if err != nil {
				s.note("  %s: %s", k.name, number(err))
				continue
			}
			if got == nil {
				break
			}
			s.note("  %s: %v", k.name, got)
		}
	}
}

// send sends a frame by somebody else and looks.
func (s *script) send(dev string, f []byte) {
	if err := s.w.send(dev, f); err != nil {
		s.note("send: %s", number(err))
		return
	}
	s.w.settle(dev)
	s.look()
}

// tried notes what a call came to.
func (s *script) tried(what string, err error) { s.note("%s: %s", what, number(err)) }

// kernelErrno names the kernel's errors; set where there is one.
var kernelErrno = func(error) (string, bool) { return "", false }

func number(err error) string {
	if err == nil {
		return "ok"
	}
	var e errno.Errno
	if errors.As(err, &e) {
		return e.Name()
	}
	if name, ok := kernelErrno(err); ok {
		return name
	}
	return err.Error()
}

func compiled(t *testing.T, expr string) []classic.Instruction {
	prog, err := pcap.CompileProgram(expr, pcap.Ethernet, 262144, &pcap.Options{Source: pcap.Live})
	if err != nil {
		t.Fatal(err)
	}
	return prog
}
