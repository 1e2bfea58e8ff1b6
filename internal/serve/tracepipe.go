//go:build linux && (amd64 || arm64)

package serve

import (
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// isTracePipe reports whether a path is that of the kernel's trace pipe.
func isTracePipe(p string) bool {
	return path.Base(p) == "trace_pipe" && slices.Contains(tracefs, path.Dir(path.Clean(p)))
}

// openTracePipe opens the machine's trace pipe for the client: the end of a pipe(2).
// Lines are in it when the call that made a program trace them has returned. Those that the client has
// not read when it closes its end are lost, a pipe's content at most.
func (c *client) openTracePipe(flags uint64) answer {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return failed(unix.EACCES)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|int(flags&unix.O_NONBLOCK)); err != nil {
		return failed(unix.Errno(number(err)))
	}
	defer unix.Close(ends[0])
	// Non-blocking from its start, the file waits without a thread.
	unix.SetNonblock(ends[1], true)
	w := os.NewFile(uintptr(ends[1]), "trace_pipe")
	a := c.giveFD(ends[0])
	if a.err != 0 {
		w.Close()
		return a
	}
	r := &traceReader{write: func(line string) traceWritten { return writeLine(w, line) }}
	c.s.trace.attach(r)
	go c.s.feed(w, r)
	return a
}

// feed ends a reader when nobody has its end of the pipe any more, and goes on where it was full.
func (s *server) feed(w *os.File, r *traceReader) {
	defer w.Close()
	defer s.trace.detach(r)
	conn, err := w.SyscallConn()
	if err != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		conn.Read(func(fd uintptr) bool { // which is woken by the end of the readers, as by any error
			p := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(p, 0)
			return err == nil && n > 0 && p[0].Revents&unix.POLLERR != 0
		})
	}()
	for {
		more := s.trace.waiting()
		// Returns when the pipe had room for all that waits.
		if conn.Write(func(uintptr) bool { return s.trace.pushed() }) != nil {
			return
		}
		select {
		case <-more:
		case <-gone:
			return
		case <-s.ended:
			return
		}
	}
}

// writeLine writes a line whole, or not at all (pipe(7): at most PIPE_BUF bytes).
func writeLine(w *os.File, line string) traceWritten {
	conn, err := w.SyscallConn()
	if err != nil {
		return traceGone
	}
	var failed error
	err = conn.Control(func(fd uintptr) { _, failed = unix.Write(int(fd), []byte(line)) })
	switch {
	case failed == unix.EAGAIN:
		return traceFull
	case err != nil || failed != nil:
		return traceGone
	}
	return traceTaken
}
