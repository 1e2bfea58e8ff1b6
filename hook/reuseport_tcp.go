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

// ReuseportListener is a TCP worker of a [Reuseport] group: a net.Listener that
// gets its share of the connections. The program sees each one's first segment, without data.
type ReuseportListener struct {
	g    *Reuseport
	sock *skep.Socket
	in   chan net.Conn
	done chan struct{}
	once sync.Once
	read deadline

	mu     sync.Mutex // around putting into in, and closing
	closed bool
}

// Listen adds a TCP worker to the group.
func (g *Reuseport) Listen() (*ReuseportListener, error) {
	l := &ReuseportListener{g: g, in: make(chan net.Conn, g.opts.Queue), done: make(chan struct{})}
	err := g.join(skep.ProtoTCP, func(s *skep.Socket) worker { l.sock = s; return l })
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (g *Reuseport) serveListener(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			return err
		}
		if _, err := g.DeliverConn(conn); err != nil {
			conn.Close()
			return err
		}
	}
}

// DeliverConn gives a connection to a worker and returns the socket of the one
// that gets it. One that nobody gets is closed.
func (g *Reuseport) DeliverConn(conn net.Conn) (*skep.Socket, error) {
	to, err := g.place(conn, nil, nil)
	if to == nil && err == nil {
		conn.Close()
	}
	return to, err
}

// place finds a worker for a connection, a new one or one that loses its listener.
func (g *Reuseport) place(conn net.Conn, from, migrating *skep.Socket) (*skep.Socket, error) {
	seg := skep.Segment{Proto: skep.ProtoTCP, Dst: g.opts.Local, Src: netip.AddrPortFrom(g.opts.Local.Addr(), 0)}
	if spec, err := skep.SocketSpecOf(conn); err == nil && spec.Remote.IsValid() {
		seg.Src, seg.Dst = spec.Remote, spec.Local
	}
	cpu := g.mach.AcquireCPU()
	defer cpu.Release()
	var err error
	if migrating == nil {
		err = cpu.Packet().SetSegment(&seg)
	} else { // no segment is at hand then
		err = cpu.Packet().SetEmpty()
	}
	if err != nil {
		return nil, err
	}
	to, err := g.choose(cpu, &seg, from, migrating)
	if to == nil || err != nil {
		return nil, err
	}
	if l, ok := to.Conn.(*ReuseportListener); ok && !l.put(conn) {
		g.lost.Add(1)
		return nil, nil
	}
	return to, nil
}

// put queues a connection; it is false for a listener that is full or closed.
func (l *ReuseportListener) put(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.in <- conn:
		return true
	default:
		return false
	}
}

// Socket is the worker's socket, to be put into a reuseport_sockarray or sockmap.
func (l *ReuseportListener) Socket() *skep.Socket { return l.sock }

// Accept waits for a connection.
func (l *ReuseportListener) Accept() (net.Conn, error) {
	late := l.read.wait()
	select {
	case <-l.done:
		return nil, l.fail(net.ErrClosed)
	case <-late:
		return nil, l.fail(os.ErrDeadlineExceeded)
	default:
	}
	select {
	case <-l.done:
		return nil, l.fail(net.ErrClosed)
	case <-late:
		return nil, l.fail(os.ErrDeadlineExceeded)
	case c := <-l.in:
		return c, nil
	}
}

func (l *ReuseportListener) fail(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
}

// SetDeadline bounds Accept.
func (l *ReuseportListener) SetDeadline(t time.Time) error { l.read.set(t); return nil }

// Close takes the worker out of the group and of all maps. The connections that wait
// for it go to other workers, if the group's program or its options say so; else they are closed.
func (l *ReuseportListener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed})
	l.once.Do(func() {
		l.g.leave(l.sock)
		l.mu.Lock()
		l.closed = true
		close(l.done)
		l.mu.Unlock()
		for {
			select {
			case conn := <-l.in:
				l.migrate(conn)
				continue
			default:
			}
			break
		}
		err = l.sock.Close()
	})
	return err
}

// migrate gives a connection that waited for l to another worker.
func (l *ReuseportListener) migrate(conn net.Conn) {
	spec, err := skep.SocketSpecOf(conn)
	if err != nil {
		spec = skep.SocketSpec{Protocol: skep.ProtoTCP, Local: l.g.opts.Local, State: skep.SocketEstablished}
	}
	child, err := l.g.mach.NewSocket(spec)
	if err != nil {
		conn.Close()
		return
	}
	defer child.Close()
	if to, err := l.g.place(conn, l.sock, child); to == nil || err != nil {
		conn.Close()
	}
}

// Addr is the address the group shares.
func (l *ReuseportListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.g.opts.Local) }
