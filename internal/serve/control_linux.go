//go:build linux && (amd64 || arm64)

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/pin"
)

// private says why a directory is not this user's alone; nil if it is.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s: %w", dir, errNotPrivate)
	}
	return nil
}

// joinControl as a client's first byte says that it is a command of skep's, with a request.
const joinControl = 1 << 7

// Kinds of pieces.
const (
	pieceMore  = '+' // a part of what follows
	pieceValue = 'v' // a request or value, or its last part
	pieceError = 'e'
	pieceEnd   = '.'
)

// pieceSize bounds a piece, in bytes; maxRequest and maxFiles what a client may send.
const (
	pieceSize  = 32 << 10
	maxRequest = 16 << 20
	maxFiles   = 8
)

// writePiece sends a text, files with its last piece.
func writePiece(c *net.UnixConn, kind byte, text []byte, files []int) error {
	for len(text) > pieceSize {
		if _, err := c.Write(append([]byte{pieceMore}, text[:pieceSize]...)); err != nil {
			return err
		}
		text = text[pieceSize:]
	}
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	_, _, err := c.WriteMsgUnix(append([]byte{kind}, text...), oob, nil)
	return err
}

// readPiece receives a text and what files came with it.
func readPiece(c *net.UnixConn, limit int) (kind byte, text []byte, files []*os.File, err error) {
	buf, oob := make([]byte, 1+pieceSize), make([]byte, unix.CmsgSpace(4*maxFiles))
	for {
		n, on, flags, _, err := c.ReadMsgUnix(buf, oob)
		if on > 0 {
			files = append(files, filesOf(oob[:on])...)
		}
		switch {
		case err == nil && n == 0:
			err = net.ErrClosed
		case err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(text)+n-1 > limit || len(files) > maxFiles):
			err = fmt.Errorf("a message is too long: %w", unix.EMSGSIZE)
		}
		if err != nil {
			closeAll(files)
			return 0, nil, nil, err
		}
		text = append(text, buf[1:n]...)
		if buf[0] != pieceMore {
			return buf[0], text, files, nil
		}
	}
}

// filesOf takes the descriptors that came with a message.
func filesOf(oob []byte) []*os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
				_ = unix.SetNonblock(fd, true) // so that who writes can be stopped
			}
			files = append(files, os.NewFile(uintptr(fd), "file of a request"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// wire is a request on its way.
type wire struct {
	Verb string
	Args json.RawMessage
}

// control answers the request of a command. stopped is closed when the server ends.
func (s *server) control(c *net.UnixConn, verbs Verbs, stopped <-chan struct{}) {
	if _, err := c.Write([]byte{0}); err != nil {
		return
	}
	_, text, files, err := readPiece(c, maxRequest)
	if err != nil {
		return
	}
	defer closeAll(files)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // nothing more is to come but the end
		c.Read(make([]byte, 1))
		cancel()
	}()
	go func() {
		select {
		case <-stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = s.answer(ctx, c, verbs, text, files)
	if err == nil {
		writePiece(c, pieceEnd, nil, nil)
		return
	}
	text, _ = json.Marshal(refusal(err))
	writePiece(c, pieceError, text, nil)
}

func (s *server) answer(ctx context.Context, c *net.UnixConn, verbs Verbs, text []byte, files []*os.File) (err error) {
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("a request that is none: %w", err)
	}
	verb := verbs[w.Verb]
	if verb == nil {
		return fmt.Errorf("this skep serve does not know %q: it is of another version", w.Verb)
	}
	defer func() { // one request must not end a machine that others use
		if r := recover(); r != nil {
			err = fmt.Errorf("BUG: %s: %v\n%s", w.Verb, r, debug.Stack())
		}
	}()
	return verb(ctx, &Request{Verb: w.Verb, Args: w.Args, Files: files, Names: names{s}}, func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return writePiece(c, pieceValue, text, nil)
	})
}

// names is the server's BPF file system (Names).
type names struct{ s *server }

func (n names) real(path string) (string, errno.Errno) {
	real, ok := n.s.real(path)
	if !ok {
		return "", errno.EPERM
	}
	return real, 0
}

func (n names) Pin(path string, o pin.Object) errno.Errno {
	real, e := n.real(path)
	if e == 0 {
		e = nameable(real[len(n.s.root):])
	}
	if e != 0 {
		return e
	}
	return n.s.pin(real, o)
}

func (n names) Get(path string) (pin.Object, errno.Errno) {
	real, e := n.real(path)
	if e != 0 {
		return nil, e
	}
	return n.s.pinned(real)
}

func (n names) Mkdir(path string) error {
	real, e := n.real(path)
	if e != 0 {
		return e
	}
	return os.MkdirAll(real, 0o700)
}

// Ask has the server at a socket answer a request: each is called with the
// values of the reply. ctx ends a request that waits.
func Ask(ctx context.Context, machine, verb string, args any, files []*os.File, each func(json.RawMessage) error) error {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: machine, Net: "unixpacket"})
	if err != nil {
		return noMachine(machine, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	text, err := json.Marshal(args)
	if err == nil {
		text, err = json.Marshal(wire{verb, text})
	}
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte{joinControl}); err != nil {
		return fmt.Errorf("%s: %w", machine, err)
	}
	if n, err := c.Read(make([]byte, 1)); err != nil || n != 1 {
		return fmt.Errorf("%s: skep serve does not answer: it is another user's", machine)
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := writePiece(c, pieceValue, text, fds); err != nil {
		return fmt.Errorf("%s: %w", machine, err)
	}
	for {
		kind, text, _, err := readPiece(c, 1<<30)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%s: skep serve is gone: %w", machine, err)
		case kind == pieceEnd:
			return nil
		case kind == pieceError:
			e := &Error{}
			if err := json.Unmarshal(text, e); err != nil {
				return err
			}
			return e
		}
		if each != nil {
			if err := each(text); err != nil {
				return err
			}
		}
	}
}
