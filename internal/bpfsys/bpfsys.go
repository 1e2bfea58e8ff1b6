// Package bpfsys is bpf(2) over a Machine of user space: the commands, rules
// and errors of kernel/bpf/syscall.c (Linux 6.18), for callers whose memory and
// descriptors are reached through interfaces. Foreign programs get here through
// intercepted system calls, tests directly.
//
//	Caller    who calls: memory, descriptors, capabilities
//	System    one Machine's objects: maps, programs, BTF, links, pins, settings
//	Command   the rows: which part of union bpf_attr each command reads
//	File      what a descriptor refers to: one reference to an object
//
// Everything with a rule of its own lives below: maps in internal/maps, loading
// and running in internal/run and internal/testrun. What the public Go API does, it does by the same functions.
package bpfsys

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/pin"
	"github.com/skep-bpf/skep/internal/run"
)

// Options make a System.
type Options struct {
	// KernelBTF returns the types programs attach to and kfuncs come from; nil: there are none.
	KernelBTF func() *btf.Spec
	// KernelBTFRaw returns them as the kernel shows them in /sys/kernel/btf/vmlinux; nil: not to be had.
	KernelBTFRaw func() []byte
	// States asks the verifier for what checked mode compares with.
	States bool
	// Unserved is told of each request that a kernel could serve and this system
	// cannot: what was asked, and what to do instead. nil: nobody.
	Unserved func(what, instead string)
	// Devices carry out what is attached to the machine's devices; nil: nobody does.
	Devices Devices
}

// System is the BPF system of one Machine as bpf(2) shows it. Safe for concurrent use.
type System struct {
	m    *run.Machine
	o    Options
	pins *pin.FS

	btfs  idTable[*BTF]
	links idTable[*Link]
	hooks hooks

	sockets sockets
	stats   atomic.Int32 // open descriptors of ENABLE_STATS, and the setting

	setting  sync.Mutex // around changes
	settings [nrSysctls]atomic.Int32

	vmlinux sync.Once
	kernel  *BTF // nil: none
}

// New makes a system over a machine, which stays the caller's to close.
func New(m *run.Machine, o Options) *System {
	s := &System{m: m, o: o, pins: pin.New("")}
	s.hooks.s, s.hooks.at = s, map[place]*chain{}
	if m.Native() {
		s.settings[jitEnable].Store(1)
	}
	m.KeepTypes(s.keepTypes)
	return s
}

// Machine is the machine behind the system.
func (s *System) Machine() *run.Machine { return s.m }

// Pins is the system's BPF file system.
func (s *System) Pins() *pin.FS { return s.pins }

// Close takes all names and attachments away. Descriptors are closed by their owners.
func (s *System) Close() {
	s.pins.Close()
	s.sockets.close()
	s.hooks.clear()
}

// call is one bpf(2) under way.
type call struct {
	s    *System
	who  *Caller
	cmd  *Command
	uptr uint64 // where the attribute lies in the caller's memory
	size uint32 // what the caller said its size is
	attr attr
	done []func() // what is to be given back at the end
}

// Bpf carries out one bpf(2): cmd with the attribute of size bytes at uattr in
// the caller's memory. The result is the call's, a descriptor where the command makes one, or -1 beside an error.
func (s *System) Bpf(who *Caller, cmd uint32, uattr uint64, size uint32) (int32, errno.Errno) {
	c := call{s: s, who: who, uptr: uattr, size: size}
	if e := c.fetch(); e != 0 {
		return -1, e
	}
	if int64(cmd) >= int64(len(commands)) {
		return -1, errno.EINVAL
	}
	c.cmd = &commands[cmd]
	if !c.tailZero() {
		return -1, errno.EINVAL
	}
	r, e := c.cmd.run(&c)
	for _, f := range c.done {
		f()
	}
	if e != 0 {
		return -1, e
	}
	return r, 0
}

// pageSize bounds what a caller may call an attribute.
const pageSize = 4096

// fetch copies the attribute: what a newer user space knows beyond it must be
// zero (bpf_check_uarg_tail_zero).
func (c *call) fetch() errno.Errno {
	if c.size > pageSize {
		return errno.E2BIG
	}
	if e := c.zeroFrom(c.uptr, attrSize, c.size); e != 0 {
		return e
	}
	b := c.attr.bytes()[:min(c.size, attrSize)]
	if len(b) != 0 && !c.who.Memory.Read(c.uptr, b) {
		return errno.EFAULT
	}
	return 0
}

// zeroFrom checks that the caller's bytes from known to size are zero
// (bpf_check_uarg_tail_zero); more than a page is too much.
func (c *call) zeroFrom(addr uint64, known, size uint32) errno.Errno {
	if size > 4096 {
		return errno.E2BIG
	}
	if size <= known {
		return 0
	}
	rest := make([]byte, size-known)
	if !c.who.Memory.Read(addr+uint64(known), rest) {
		return errno.EFAULT
	}
	for _, b := range rest {
		if b != 0 {
			return errno.E2BIG
		}
	}
	return 0
}

// tailZero is CHECK_ATTR.
func (c *call) tailZero() bool {
	for _, b := range c.attr.bytes()[c.cmd.End:] {
		if b != 0 {
			return false
		}
	}
	return true
}

// put writes a field of the attribute back.
func (c *call) put(off uintptr, b []byte) errno.Errno {
	if !c.who.Memory.Write(c.uptr+uint64(off), b) {
		return errno.EFAULT
	}
	return 0
}

// unserved tells of something that no user space can do.
func (s *System) unserved(instead, format string, args ...any) {
	if s.o.Unserved != nil {
		s.o.Unserved(fmt.Sprintf(format, args...), instead)
	}
}

// Unserved tells of something asked for beside bpf(2) that cannot be served.
func (s *System) Unserved(what, instead string) { s.unserved(instead, "%s", what) }
