//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A program joins a server by its listener, which Exec sends over the server's
// socket, and one byte of flags. The server answers with a byte whether it serves. The connection
// stays open as long as the program runs; a second byte says that the server has seen its
// end, an end without one that the server is gone.
const (
	joinUnprivileged = 1 // the program has no capabilities

	joinServed = 0 // the answer
	joinFull   = 1 // the server could not take the listener
)

// ErrInUse says that a server listens at a socket already.
var ErrInUse = errors.New("another skep serve listens there")

// Listen serves the programs that join at a unix socket, and the requests of
// skep's own commands, until o.Stop is closed. Only the user who runs it may join, and root.
func Listen(o *ListenOptions) error {
	if c, err := net.Dial("unixpacket", o.Path); err == nil {
		c.Close()
		return fmt.Errorf("%s: %w", o.Path, ErrInUse)
	} else if st, serr := os.Lstat(o.Path); serr == nil {
		if st.Mode().Type() != os.ModeSocket {
			return fmt.Errorf("%s: there is a file of that name", o.Path)
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			os.Remove(o.Path) // of one that was killed
		}
	}
	old := unix.Umask(0o177) // nobody else may connect, from the first moment on
	l, err := net.Listen("unixpacket", o.Path)
	unix.Umask(old)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Path, errors.Unwrap(err))
	}
	s, err := newServer(o.System, o.Trace)
	if err != nil {
		l.Close()
		return err
	}
	defer s.close()
	go func() {
		<-o.Stop
		l.Close() // which removes the socket
	}()
	o.Ready()
	var sessions sync.WaitGroup
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil // programs that run on are told by the kernel that there is no bpf(2)
		}
		if noDescriptors(err) || errors.Is(err, unix.ECONNABORTED) {
			time.Sleep(10 * time.Millisecond) // whoever waits is let in when somebody has gone
			continue
		}
		if err != nil {
			return err
		}
		sessions.Go(func() { s.join(c.(*net.UnixConn), o) })
	}
}

// noDescriptors reports whether an error says that this process, or the system, has no more.
func noDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}

// firstWord is how long who connects may take to say what for.
const firstWord = time.Minute

// join serves one program or command.
func (s *server) join(c *net.UnixConn, o *ListenOptions) {
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return
	}
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	c.SetReadDeadline(time.Now().Add(firstWord))
	n, on, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil || n != 1 {
		return
	}
	c.SetReadDeadline(time.Time{})
	if b[0] == joinControl {
		s.control(c, o.Verbs, o.Stop)
		return
	}
	caps := o.Caps
	listener, err := rightsOf(oob[:on])
	if err != nil {
		c.Write([]byte{joinFull})
		return
	}
	if b[0]&joinUnprivileged != 0 {
		caps = 0
	}
	if _, err := c.Write([]byte{joinServed}); err != nil {
		unix.Close(listener)
		return
	}
	s.session(listener, caps)
	c.Write([]byte{0}) // the program has ended, not this server
}

// join has the server at o.Machine answer.
func (o *Options) join() (begin func(listener int) error, end func(), err error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: o.Machine, Net: "unixpacket"})
	if err != nil {
		return nil, nil, noMachine(o.Machine, err)
	}
	var ended sync.Once
	done := make(chan struct{})
	begin = func(listener int) error {
		var flags byte
		if o.Caps == 0 {
			flags = joinUnprivileged
		}
		_, _, err := c.WriteMsgUnix([]byte{flags}, unix.UnixRights(listener), nil)
		unix.Close(listener)
		if err != nil && !errors.Is(err, unix.EPIPE) { // which is how a server turns others away
			return err
		}
		said := make([]byte, 1)
		if n, err := c.Read(said); err == nil && n == 1 && said[0] == joinFull {
			return fmt.Errorf("%s: skep serve has no descriptors left to serve another program: %w", o.Machine, unix.EMFILE)
		} else if err != nil || n != 1 {
			return fmt.Errorf("%s: skep serve does not take this program: it is another user's", o.Machine)
		}
		go func() {
			n, _ := c.Read(make([]byte, 1))
			select {
			case <-done:
			default:
				if n == 1 { // the program's end, as the server saw it
					return
				}
				fmt.Fprintf(o.Stderr, "skep: the machine at %s is gone: bpf(2) fails with ENOSYS from now on\n", o.Machine)
			}
		}()
		return nil
	}
	end = func() {
		ended.Do(func() {
			close(done)
			c.Close()
		})
	}
	return begin, end, nil
}
