package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EventPipe reads what programs write to a map of perf events.
type EventPipe struct {
	rings []*perfRing
	fds   []int
	epoll int
	wake  int // an eventfd that ends a wait
}

// pipePages is the size of each CPU's ring, in pages.
const pipePages = 16

// OpenEventPipe puts events into a map of at most entries: one for each CPU, at its number, or, if cpu
// is not negative, one for it alone, at index. What was there before is replaced.
func OpenEventPipe(m *Map, entries uint32, cpu, index int) (_ *EventPipe, err error) {
	p := &EventPipe{epoll: -1, wake: -1}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	if err := p.poll(p.wake, -1); err != nil {
		return nil, err
	}
	if cpu >= 0 {
		return p, p.open(m, cpu, index)
	}
	cpus, err := PossibleCPUs()
	if err != nil {
		return nil, err
	}
	for cpu := range min(cpus, int(entries)) {
		if err := p.open(m, cpu, cpu); err != nil && !errors.Is(err, unix.ENODEV) { // which is offline
			return nil, err
		}
	}
	return p, nil
}

func (p *EventPipe) poll(fd, ring int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(ring)})
}

// open makes one CPU's event and its ring.
func (p *EventPipe) open(m *Map, cpu, index int) error {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_BPF_OUTPUT, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: 1, Sample_type: unix.PERF_SAMPLE_RAW | unix.PERF_SAMPLE_TIME, Wakeup: 1,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("perf_event_open, CPU %d: %w", cpu, err)
	}
	p.fds = append(p.fds, fd)
	page := os.Getpagesize()
	mem, err := unix.Mmap(fd, 0, (1+pipePages)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("the ring of CPU %d: %w", cpu, err)
	}
	p.rings = append(p.rings, &perfRing{cpu: cpu, index: index, page: mem, data: mem[page:]})
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return fmt.Errorf("CPU %d: %w", cpu, err)
	}
	// Samples that come before somebody polls wake nobody.
	if err := p.poll(fd, len(p.rings)-1); err != nil {
		return err
	}
	key := binary.NativeEndian.AppendUint32(nil, uint32(index))
	if err := m.Update(key, binary.NativeEndian.AppendUint32(nil, uint32(fd)), 0); err != nil {
		return fmt.Errorf("index %d: %w", index, err)
	}
	return nil
}

// Each calls do for each record as it comes, until ctx ends.
func (p *EventPipe) Each(ctx context.Context, do func(*PipeEvent) error) error {
	defer context.AfterFunc(ctx, func() {
		one := [8]byte{1}
		unix.Write(p.wake, one[:])
	})()
	var ready [16]unix.EpollEvent
	for ctx.Err() == nil {
		n, err := unix.EpollWait(p.epoll, ready[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, ev := range ready[:max(n, 0)] {
			if ev.Fd < 0 {
				continue
			}
			if err := p.rings[ev.Fd].drain(do); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close takes the events out of the map and ends them.
func (p *EventPipe) Close() error {
	for _, r := range p.rings {
		unix.Munmap(r.page)
	}
	for _, fd := range append(p.fds, p.epoll, p.wake) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return nil
}
