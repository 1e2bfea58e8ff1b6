//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
)

// capBits are the capabilities that BPF asks for, by their numbers in the kernel.
var capBits = []struct {
	have bpfsys.Caps
	bit  uint
}{
	{bpfsys.CapBPF, unix.CAP_BPF}, {bpfsys.CapPerfmon, unix.CAP_PERFMON},
	{bpfsys.CapNetAdmin, unix.CAP_NET_ADMIN}, {bpfsys.CapSysAdmin, unix.CAP_SYS_ADMIN},
}

// threadCaps are the capabilities of threads that have dropped some of those they
// are taken to have. A child begins with all of them again.
type threadCaps struct {
	any atomic.Bool // somebody has

	mu  sync.Mutex
	set map[uint32]heldCaps // by thread
}

// heldCaps are a thread's capabilities.
type heldCaps struct {
	effective, permitted bpfsys.Caps
	born                 string // the thread's start, which tells it from a later one of its number
}

// held is what the client's thread has of the capabilities it is taken to have.
func (c *client) held() heldCaps {
	all := heldCaps{effective: c.s.caps, permitted: c.s.caps}
	d := &c.s.dropped
	if !d.any.Load() {
		return all
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if h, ok := d.set[c.pid]; ok {
		if h.born == born(c.pid) {
			return h
		}
		delete(d.set, c.pid)
	}
	return all
}

// manyThreads is how many threads are remembered before those that have ended are looked for.
const manyThreads = 1024

func (d *threadCaps) remember(tid uint32, h heldCaps) {
	d.any.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set == nil {
		d.set = map[uint32]heldCaps{}
	}
	if len(d.set) >= manyThreads {
		maps.DeleteFunc(d.set, func(tid uint32, h heldCaps) bool { return h.born != born(tid) })
	}
	d.set[tid] = h
}

// caps are the capabilities in effect.
func (c *client) caps() bpfsys.Caps { return c.held().effective }

// born is when a thread was started (proc(5), stat, the field "starttime").
func born(tid uint32) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tid))
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return ""
	}
	return string(f[19])
}

// capsCall is what capget(2) and capset(2) are given, and what the kernel says the thread has.
type capsCall struct {
	data [2]unix.CapUserData
	real [2]unix.CapUserData
}

// capsCall reads the header of the call; false for one that is the kernel's to answer.
func (c *client) capsCall(n *notif) (*capsCall, bool) {
	var hdr unix.CapUserHeader
	if c.s.caps == 0 || n.Args[1] == 0 || !c.Read(n.Args[0], bytesOf(&hdr)) || hdr.Version != unix.LINUX_CAPABILITY_VERSION_3 ||
		hdr.Pid != 0 && hdr.Pid != int32(c.pid) && int(hdr.Pid) != c.tgid() {
		return nil, false
	}
	call := &capsCall{}
	hdr.Pid = int32(c.pid)
	if err := unix.Capget(&hdr, &call.real[0]); err != nil {
		return nil, false
	}
	return call, true
}

// bytesOf is the memory of a value without pointers, for the kernel's layouts.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// capget adds the capabilities that the client is taken to have to those it
// has: tools look before they call bpf(2).
func (c *client) capget(n *notif) answer {
	call, ok := c.capsCall(n)
	if !ok {
		return pass
	}
	call.data = call.real
	h := c.held()
	for _, b := range capBits {
		part, bit := &call.data[b.bit/32], uint32(1)<<(b.bit%32)
		if h.effective&b.have != 0 {
			part.Effective |= bit
		}
		if h.permitted&b.have != 0 {
			part.Permitted |= bit
			part.Inheritable |= bit // or ip(8) drops them
		}
	}
	if !c.Write(n.Args[1], bytesOf(&call.data)) {
		return failed(unix.EFAULT)
	}
	return answer{}
}

// capset lets a thread drop what it is taken to have, and take it back while it
// is permitted. What it really has it can only keep, unless it has all that is served.
func (c *client) capset(n *notif) answer {
	call, ok := c.capsCall(n)
	if !ok {
		return pass
	}
	if !c.Read(n.Args[1], bytesOf(&call.data)) {
		return failed(unix.EFAULT)
	}
	now := c.held()
	want := heldCaps{born: born(c.pid)}
	real := true // it has in truth what it is taken to have
	for _, b := range capBits {
		part, bit := call.data[b.bit/32], uint32(1)<<(b.bit%32)
		if part.Effective&bit != 0 {
			want.effective |= b.have
		}
		if part.Permitted&bit != 0 {
			want.permitted |= b.have
		}
		real = real && call.real[b.bit/32].Permitted&bit != 0
		// What is left is for the kernel.
		for _, d := range []*unix.CapUserData{&call.data[b.bit/32], &call.real[b.bit/32]} {
			d.Effective, d.Permitted, d.Inheritable = d.Effective&^bit, d.Permitted&^bit, d.Inheritable&^bit
		}
	}
	if want.permitted&^now.permitted != 0 || want.effective&^want.permitted != 0 || !real && call.data != call.real {
		return failed(unix.EPERM)
	}
	c.s.dropped.remember(c.pid, want)
	if real {
		return pass
	}
	return answer{}
}
