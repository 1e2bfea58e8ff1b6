package hook

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep"
)

// SockMap serves a sockmap or sockhash: real connections that are put into it
// go through the map's programs. What arrives is cut into messages by the parser and
// judged by the verdict program; what is written is judged by the sk_msg program. Both
// may send it to another connection: out of it, or to who reads from it.
//
//	conn ─▶ stream parser ─▶ verdict ──pass──▶ Read
//	                           │ redirect to another's Write or Read
//	conn ◀─────────────── sk_msg ◀──────────── Write
//
// Programs are attached before connections are put in: a connection keeps those it
// found. It is safe for concurrent use and takes a virtual CPU for each message.
type SockMap struct {
	mach *skep.Machine
	m    *skep.Map

	passed, dropped, redirected atomic.Uint64
}

// NewSockMap serves a map of type sockmap or sockhash.
func NewSockMap(m *skep.Machine, mp *skep.Map) (*SockMap, error) {
	if t := mp.Type(); t != skep.SockMap && t != skep.SockHash {
		return nil, fmt.Errorf("hook sockmap: map %s is of type %s", mp.Name(), t)
	}
	return &SockMap{mach: m, m: mp}, nil
}

// Attach makes p the map's program at one of four places: skep.AttachSkSKBStreamParser,
// AttachSkSKBStreamVerdict or AttachSkSKBVerdict, AttachSkMsgVerdict.
func (h *SockMap) Attach(p *skep.Program, at skep.AttachType) error {
	if err := h.m.AttachProgram(p, at); err != nil {
		return fmt.Errorf("hook sockmap: %w", err)
	}
	return nil
}

// Detach takes the map's program at a place away.
func (h *SockMap) Detach(p *skep.Program, at skep.AttachType) error {
	if err := h.m.DetachProgram(p, at); err != nil {
		return fmt.Errorf("hook sockmap: %w", err)
	}
	return nil
}

// SockMapStats counts messages by what became of them.
type SockMapStats struct{ Passed, Dropped, Redirected uint64 }

// Stats returns the figures so far, of both directions.
func (h *SockMap) Stats() SockMapStats {
	return SockMapStats{h.passed.Load(), h.dropped.Load(), h.redirected.Load()}
}

// count counts one verdict.
func (h *SockMap) count(v *skep.SockVerdict) {
	switch {
	case !v.Pass:
		h.dropped.Add(1)
	case v.To != nil:
		h.redirected.Add(1)
	default:
		h.passed.Add(1)
	}
}

// SockConn is a connection in a map of sockets: a net.Conn whose bytes go through
// the map's programs. From when it is made it alone reads from and writes to the real one.
type SockConn struct {
	h    *SockMap
	sock *skep.Socket
	conn net.Conn
	once sync.Once

	in    inbox
	read  deadline
	write sync.Mutex // around sending, and what follows
	msg   outgoing

	raw sync.Mutex // around writes to conn, from several sides
}

// outgoing is what sk_msg programs left behind for the messages to come (sk_psock).
type outgoing struct {
	held    []byte // bytes that are corked
	cork    uint32 // how many more the program wants
	decided bool   // verdict holds: for apply bytes more, or for the message under way
	apply   uint32
	verdict skep.SockVerdict
}

// Put puts a connection into the map at a key.
func (h *SockMap) Put(key any, conn net.Conn) (*SockConn, error) {
	c, err := h.conn(conn)
	if err != nil {
		return nil, err
	}
	if err := h.m.Put(key, c.sock); err != nil {
		c.sock.Close()
		return nil, fmt.Errorf("hook sockmap: %w", err)
	}
	go c.receive()
	return c, nil
}

// Serve takes a connection that is in no map: enter, which is given its socket, puts it into one, or has
// a program do so, as [SockOps] does (bpf_sock_hash_update). No byte is read before.
func (h *SockMap) Serve(conn net.Conn, enter func(*skep.Socket) error) (*SockConn, error) {
	c, err := h.conn(conn)
	if err != nil {
		return nil, err
	}
	if err := enter(c.sock); err != nil {
		c.sock.Close()
		return nil, err
	}
	go c.receive()
	return c, nil
}

// conn gives a connection a socket.
func (h *SockMap) conn(conn net.Conn) (*SockConn, error) {
	spec, err := skep.SocketSpecOf(conn)
	if err != nil {
		return nil, fmt.Errorf("hook sockmap: %w", err)
	}
	c := &SockConn{h: h, conn: conn}
	c.in.wake = make(chan struct{}, 1)
	spec.Conn = c
	if c.sock, err = h.mach.NewSocket(spec); err != nil {
		return nil, fmt.Errorf("hook sockmap: %w", err)
	}
	return c, nil
}

// Socket is the connection's socket, to be put into other maps or at other keys.
func (c *SockConn) Socket() *skep.Socket { return c.sock }

// chunk is how many bytes are judged at once where no parser cuts them: what a
// socket buffer holds in one piece.
const chunk = 16 << 10

// maxMessage is the longest message a parser may ask for (sk_rcvbuf, by default).
const maxMessage = 128 << 10

// ErrMessage says that a stream parser gave up, or asked for what cannot be.
var ErrMessage = errors.New("the stream parser refused the bytes")

// receive takes what arrives through the programs until the connection ends.
func (c *SockConn) receive() {
	buf := make([]byte, 0, maxMessage+chunk)
	for {
		n, err := c.conn.Read(buf[len(buf):min(len(buf)+chunk, cap(buf))])
		buf = buf[:len(buf)+n]
		for err == nil && len(buf) > 0 {
			used, jerr := c.judge(buf)
			if jerr != nil {
				err = jerr
			}
			if used == 0 {
				break
			}
			buf = buf[:copy(buf, buf[used:])]
		}
		if err != nil {
			c.in.fail(err)
			return
		}
	}
}

// judge takes the first message of data through the verdict program, and returns
// how long it is, 0 where it is not all there yet.
func (c *SockConn) judge(data []byte) (int, error) {
	cpu := c.h.mach.AcquireCPU()
	n, err := c.parse(cpu, data)
	if n == 0 || err != nil {
		cpu.Release()
		return 0, err
	}
	msg, v, err := cpu.SockJudge(c.sock, data[:n])
	if err == nil {
		c.h.count(&v)
		msg = append([]byte(nil), msg...) // the CPU is wanted by others before it is delivered
	}
	cpu.Release()
	if err != nil {
		return 0, err
	}
	switch to := target(v.To); {
	case !v.Pass:
	case v.To == nil:
		c.in.put(msg)
	case to == nil: // a socket that carries nothing
	case v.Ingress:
		to.in.put(msg)
	default:
		to.send(msg) // who cannot be written to loses what is sent there
	}
	return n, nil
}

// parse asks how long the first message of data is; 0: it is not all there.
func (c *SockConn) parse(cpu *skep.CPU, data []byte) (int, error) {
	want, err := cpu.SockParse(c.sock, data)
	switch {
	case err != nil:
		return 0, err
	case want < 0 || want > maxMessage || want == 0 && len(data) >= maxMessage:
		return 0, ErrMessage
	case int(want) > len(data):
		return 0, nil
	}
	return int(want), nil
}

// target is the connection of a socket.
func target(s *skep.Socket) *SockConn {
	if s == nil {
		return nil
	}
	c, _ := s.Conn.(*SockConn)
	return c
}

// send writes past all programs.
func (c *SockConn) send(b []byte) (int, error) {
	c.raw.Lock()
	defer c.raw.Unlock()
	return c.conn.Write(b)
}

// Read reads what passed, and what others redirected to this connection.
func (c *SockConn) Read(b []byte) (int, error) {
	for {
		if n, err := c.in.take(b); n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		select {
		case <-c.in.wake:
		case <-c.read.wait():
			return 0, &net.OpError{Op: "read", Net: "sockmap", Addr: c.LocalAddr(), Err: os.ErrDeadlineExceeded}
		}
	}
}

// Write sends b through the map's sk_msg program, if there is one. Bytes that it
// drops are an error that wraps Errno 13 (EACCES), as of send(2); those it corks count as written.
func (c *SockConn) Write(b []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	o := &c.msg
	if o.cork > 0 {
		o.held = append(o.held, b...)
		if o.cork > uint32(len(b)) {
			o.cork -= uint32(len(b))
			return len(b), nil
		}
		whole := o.held
		o.held, o.cork, o.decided, o.apply = nil, 0, false, 0
		return written(len(b), c.transmit(whole))
	}
	if len(b) == 0 {
		return c.send(b)
	}
	return written(len(b), c.transmit(b))
}

func written(n int, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return n, nil
}

// transmit takes data through the program, part by part as its verdicts reach
// (tcp_bpf_send_verdict).
func (c *SockConn) transmit(data []byte) error {
	o := &c.msg
	for len(data) > 0 {
		if !o.decided {
			done, err := c.ask(&data)
			if done || err != nil {
				return err
			}
		}
		n := len(data)
		if o.apply > 0 {
			n = min(n, int(o.apply))
			o.apply -= uint32(n)
		}
		if err := c.carry(data[:n]); err != nil {
			return err // and if it was dropped, so is all that follows, as in the kernel
		}
		o.decided = o.apply > 0
		data = data[n:]
	}
	return nil
}

// ask runs the program on data, which it may change, and notes the verdict. done
// says that nothing is left to send: there is no program, or the bytes are corked.
func (c *SockConn) ask(data *[]byte) (done bool, err error) {
	cpu := c.h.mach.AcquireCPU()
	m, ok, err := cpu.SockSend(c.sock, *data)
	if ok && err == nil {
		*data = append([]byte(nil), m.Data...)
	}
	cpu.Release()
	o := &c.msg
	switch {
	case err != nil:
		return true, err
	case !ok:
		_, err := c.send(*data)
		return true, err
	case m.Cork > uint32(len(*data)):
		o.held, o.cork = *data, m.Cork-uint32(len(*data))
		return true, nil
	}
	o.decided, o.verdict, o.apply = true, m.Verdict, m.Apply
	c.h.count(&o.verdict)
	return false, nil
}

// carry does what the verdict says with some bytes.
func (c *SockConn) carry(b []byte) (err error) {
	v := &c.msg.verdict
	switch to := target(v.To); {
	case !v.Pass:
		return &net.OpError{Op: "write", Net: "sockmap", Addr: c.LocalAddr(), Err: skep.Errno(13)}
	case v.To == nil:
		_, err = c.send(b)
	case to == nil:
	case v.Ingress:
		to.in.put(append([]byte(nil), b...))
	default:
		_, err = to.send(b)
	}
	return err
}

// Close closes the connection and takes it out of all maps.
func (c *SockConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.sock.Close()
		c.in.fail(net.ErrClosed)
		err = c.conn.Close()
	})
	return err
}

// LocalAddr is the connection's.
func (c *SockConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr is the connection's.
func (c *SockConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline bounds reading and writing.
func (c *SockConn) SetDeadline(t time.Time) error {
	c.read.set(t)
	return c.conn.SetWriteDeadline(t)
}

// SetReadDeadline bounds reading.
func (c *SockConn) SetReadDeadline(t time.Time) error { c.read.set(t); return nil }

// SetWriteDeadline bounds writing.
func (c *SockConn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// inbox is what waits to be read (the psock's ingress queue). It grows as it is
// filled: who redirects to a connection that nobody reads from pays with memory, as in the kernel.
type inbox struct {
	wake chan struct{}

	mu   sync.Mutex
	msgs [][]byte
	err  error // after msgs
}

func (q *inbox) put(b []byte) {
	if len(b) == 0 {
		return
	}
	q.mu.Lock()
	if q.err == nil || errors.Is(q.err, io.EOF) {
		q.msgs = append(q.msgs, b)
	}
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) fail(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	if errors.Is(err, net.ErrClosed) {
		q.msgs = nil
	}
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take reads from the first message, without waiting.
func (q *inbox) take(b []byte) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(b) && len(q.msgs) > 0 {
		k := copy(b[n:], q.msgs[0])
		n += k
		if q.msgs[0] = q.msgs[0][k:]; len(q.msgs[0]) == 0 {
			q.msgs = q.msgs[1:]
		}
	}
	if len(q.msgs) > 0 || q.err != nil {
		q.signal() // for another reader
	}
	if n == 0 && len(q.msgs) == 0 {
		return 0, q.err
	}
	return n, nil
}
