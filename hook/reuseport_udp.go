package hook

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/skep-bpf/skep"
)

// ReuseportConn is a UDP worker of a [Reuseport] group: a net.PacketConn that
// gets its share of what arrives, and sends by the group's Conn.
type ReuseportConn struct {
	g    *Reuseport
	sock *skep.Socket
	in   chan *datagram
	done chan struct{}
	once sync.Once
	read deadline
}

// datagram is one that waits for its worker.
type datagram struct {
	from netip.AddrPort
	data []byte
}

var datagrams = sync.Pool{New: func() any { return new(datagram) }}

// ListenPacket adds a UDP worker to the group.
func (g *Reuseport) ListenPacket() (*ReuseportConn, error) {
	c := &ReuseportConn{g: g, in: make(chan *datagram, g.opts.Queue), done: make(chan struct{})}
	err := g.join(skep.ProtoUDP, func(s *skep.Socket) worker { c.sock = s; return c })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// servePackets deals out what arrives at pc.
func (g *Reuseport) servePackets(pc net.PacketConn) error {
	buf := make([]byte, 1<<16)
	udp, _ := pc.(*net.UDPConn)
	for {
		var n int
		var from netip.AddrPort
		var err error
		if udp != nil {
			n, from, err = udp.ReadFromUDPAddrPort(buf)
		} else {
			var a net.Addr
			if n, a, err = pc.ReadFrom(buf); err == nil {
				if u, ok := a.(*net.UDPAddr); ok {
					from = u.AddrPort()
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return err
		default:
			continue // an ICMP error of an earlier answer concerns one peer alone
		}
		if _, err := g.Deliver(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n]); err != nil {
			return err
		}
	}
}

// Deliver deals out one datagram as if it had arrived from that address, and
// returns the socket of the worker that gets it, nil if nobody does.
func (g *Reuseport) Deliver(from netip.AddrPort, data []byte) (*skep.Socket, error) {
	cpu := g.mach.AcquireCPU()
	defer cpu.Release()
	seg := skep.Segment{Proto: skep.ProtoUDP, Src: from, Dst: g.opts.Local, Payload: data}
	if err := cpu.Packet().SetSegment(&seg); err != nil {
		return nil, err
	}
	return g.deliver(cpu, &seg, nil)
}

// DeliverFrame deals out the UDP datagram in an Ethernet frame, as a device
// receives it. One for another address, or of another kind, is not the group's: ok is false.
func (g *Reuseport) DeliverFrame(frame []byte, meta Meta) (to *skep.Socket, ok bool, err error) {
	cpu := g.mach.AcquireCPU()
	defer cpu.Release()
	seg, ok := cpu.Packet().SetFrame(frame, meta.Ifindex)
	if !ok || seg.Proto != skep.ProtoUDP || g.proto != skep.ProtoUDP || seg.Dst.Port() != g.opts.Local.Port() ||
		seg.Dst.Addr() != g.opts.Local.Addr() && !g.group.BindInAny {
		return nil, false, nil
	}
	to, err = g.deliver(cpu, &seg, nil)
	return to, true, err
}

// deliver deals out the segment on the CPU; own is the member it came to first, nil: any.
func (g *Reuseport) deliver(cpu *skep.CPU, seg *skep.Segment, own *skep.Socket) (*skep.Socket, error) {
	to, err := g.choose(cpu, seg, own, nil)
	if to == nil || err != nil {
		return nil, err
	}
	if c, ok := to.Conn.(*ReuseportConn); ok { // else a member that takes nothing itself
		c.queue(seg)
	}
	return to, nil
}

// queue puts a datagram where the worker reads.
func (c *ReuseportConn) queue(seg *skep.Segment) {
	d := datagrams.Get().(*datagram)
	d.from, d.data = seg.Src, append(d.data[:0], seg.Payload...)
	select {
	case c.in <- d:
	default:
		datagrams.Put(d)
		c.g.lost.Add(1)
	}
}

// Socket is the worker's socket, to be put into a reuseport_sockarray or sockmap.
func (c *ReuseportConn) Socket() *skep.Socket { return c.sock }

// Pending is how many datagrams wait to be read.
func (c *ReuseportConn) Pending() int { return len(c.in) }

// ReadFromUDPAddrPort waits for a datagram, as net.UDPConn does.
func (c *ReuseportConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	late := c.read.wait()
	select { // one that is closed or late gets nothing more
	case <-c.done:
		return 0, netip.AddrPort{}, c.fail("read", net.ErrClosed)
	case <-late:
		return 0, netip.AddrPort{}, c.fail("read", os.ErrDeadlineExceeded)
	default:
	}
	select {
	case <-c.done:
		return 0, netip.AddrPort{}, c.fail("read", net.ErrClosed)
	case <-late:
		return 0, netip.AddrPort{}, c.fail("read", os.ErrDeadlineExceeded)
	case d := <-c.in:
		n, from := copy(b, d.data), d.from
		datagrams.Put(d)
		return n, from, nil
	}
}

// ReadFrom waits for a datagram; what does not fit b is lost.
func (c *ReuseportConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo sends a datagram by the group's Conn.
func (c *ReuseportConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, c.fail("write", net.ErrClosed)
	default:
	}
	pc, ok := c.g.opts.Conn.(net.PacketConn)
	if !ok {
		return 0, c.fail("write", errors.New("the group has no Conn"))
	}
	return pc.WriteTo(b, to)
}

func (c *ReuseportConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.LocalAddr(), Err: err}
}

// Close takes the worker out of the group and of all maps. What waits for it is lost.
func (c *ReuseportConn) Close() error {
	err := c.fail("close", net.ErrClosed)
	c.once.Do(func() {
		c.g.leave(c.sock)
		close(c.done)
		err = c.sock.Close()
	})
	return err
}

// LocalAddr is the address the group shares.
func (c *ReuseportConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.g.opts.Local) }

// SetDeadline bounds reading; writing does not wait.
func (c *ReuseportConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds reading.
func (c *ReuseportConn) SetReadDeadline(t time.Time) error { c.read.set(t); return nil }

// SetWriteDeadline does nothing: writing does not wait.
func (c *ReuseportConn) SetWriteDeadline(time.Time) error { return nil }
