package device

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tap is a TAP device of the host: what its kernel sends out of it is received.
type tap struct {
	name   string
	queues []*os.File
}

// OpenTAP makes a TAP device of the host, or takes one that is there, with so
// many queues (tuntap.rst, IFF_MULTI_QUEUE). It goes with Close, unless it is
// persistent. It needs CAP_NET_ADMIN; addresses and the state up are the caller's affair.
func OpenTAP(name string, queues int) (Port, error) {
	t := &tap{name: name}
	for range max(queues, 1) {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("tap %s: /dev/net/tun: %w", name, err)
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
			if queues > 1 {
				flags |= unix.IFF_MULTI_QUEUE
			}
			ifr.SetUint16(flags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			unix.Close(fd)
			t.Close()
			return nil, fmt.Errorf("tap %s: %w", name, err)
		}
		// Not blocking, so that Close wakes whoever reads.
		t.queues = append(t.queues, os.NewFile(uintptr(fd), name))
	}
	return t, nil
}

func (t *tap) Queues() int { return len(t.queues) }

// Receive takes what is there, one frame at least.
func (t *tap) Receive(queue int, frames [][]byte) (int, error) {
	return receive(t.queues[queue], frames)
}

func (t *tap) Transmit(frames [][]byte) (int, error) {
	for i, f := range frames {
		switch _, err := t.queues[0].Write(f); {
		case errors.Is(err, os.ErrClosed):
			return i, io.ErrClosedPipe
		case errors.Is(err, unix.EIO), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINVAL):
			return i, nil // it is down, full, or has no place for such a frame: dropped
		case err != nil:
			return i, err
		}
	}
	return len(frames), nil
}

func (t *tap) Close() error {
	var errs []error
	for _, q := range t.queues {
		if err := q.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// receive waits for one frame and takes those that are there already.
func receive(f *os.File, frames [][]byte) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, io.EOF // closed
	}
	got := 0
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for got < len(frames) {
			n, err := unix.Read(int(fd), frames[got])
			switch {
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // said once; it may come up again
				continue
			case errors.Is(err, unix.EAGAIN):
				return got > 0
			case err != nil:
				failed = err
				return true
			}
			frames[got] = frames[got][:n]
			got++
		}
		return true
	})
	switch {
	case got > 0:
		return got, nil
	case err != nil: // closed: there is no other reason
		return 0, io.EOF
	}
	return 0, failed
}
