//go:build linux && (amd64 || arm64)

package serve

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/maps"
)

// epollCtl makes ring buffers pollable, which memory files are not: an eventfd
// takes the map's place in the client's epoll instance, with the client's own data.
func (c *client) epollCtl(n *notif) answer {
	f, e := c.File(int32(n.Args[2]))
	if e != 0 || f == nil {
		return pass
	}
	defer f.Put()
	var event int
	var err error
	ready := false // something came before anybody polled
	out := false   // who polls waits for room: the eventfd, which has always some, is read from for it
	switch o := f.Object().(type) {
	case bpfsys.Map:
		switch ring := o.Map.(type) {
		case *maps.RingBuf:
			if event, err = c.s.eventOf(ring, ring.OnWake); err == nil {
				ready = ring.Avail() != 0
			}
		case *maps.UserRingBuf:
			event, err = c.s.eventOf(ring, ring.OnRoom)
			out, ready = true, true
		default:
			return pass // EPERM, as for objects that cannot be polled
		}
	case *bpfsys.PerfEvent:
		if event, err = c.s.eventOf(o, o.OnWake); err == nil {
			ready = o.Woken()
		}
	case *bpfsys.XSK:
		if x, f := c.xsk(n.Args[2]); x != nil && n.Args[1] == unix.EPOLL_CTL_ADD {
			c.turn(x, f, n.Args[2], x.fifo)
			f.Put()
		}
		return pass
	default:
		return pass
	}
	if err != nil {
		return failed(unix.ENOMEM)
	}
	pidfd, err := unix.PidfdOpen(c.tgid(), 0)
	if err != nil {
		return failed(unix.EPERM)
	}
	defer unix.Close(pidfd)
	ep, err := unix.PidfdGetfd(pidfd, int(int32(n.Args[0])), 0)
	if err != nil {
		return failed(unix.EBADF)
	}
	defer unix.Close(ep)
	var ev unix.EpollEvent
	if n.Args[1] != unix.EPOLL_CTL_DEL {
		if !c.Read(n.Args[3], unsafe.Slice((*byte)(unsafe.Pointer(&ev)), unsafe.Sizeof(ev))) {
			return failed(unix.EFAULT)
		}
		// Nobody empties the eventfd: each wake-up is told once, as the map's are.
		ev.Events |= unix.EPOLLET
		if out && ev.Events&unix.EPOLLOUT != 0 {
			ev.Events = ev.Events&^unix.EPOLLOUT | unix.EPOLLIN
		}
	}
	if err := unix.EpollCtl(ep, int(n.Args[1]), event, &ev); err != nil {
		return failed(unix.Errno(number(err)))
	}
	if n.Args[1] == unix.EPOLL_CTL_ADD && ready {
		wake(event)
	}
	return answer{}
}

// eventOf returns the eventfd of what is polled, which is written at each
// wake-up; onWake says when that is. The second function is called when it is no more.
func (s *server) eventOf(ring any, onWake func(wake, gone func())) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.events[ring]; ok {
		return fd, nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, err
	}
	s.events[ring] = fd
	onWake(func() { wake(fd) }, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.events[ring] == fd { // the server may have ended
			delete(s.events, ring)
			unix.Close(fd)
		}
	})
	return fd, nil
}

func wake(event int) {
	one := [8]byte{1}
	unix.Write(event, one[:])
}
