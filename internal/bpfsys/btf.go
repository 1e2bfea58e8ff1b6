package bpfsys

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// BTF is a loaded set of types. It is shared: the last Close frees it.
type BTF struct {
	s       *System
	id      uint32
	raw     []byte
	spec    *btf.Spec
	strings []byte
	kernel  bool
	name    string
	refs    atomic.Int64
}

// ID is the object's number.
func (b *BTF) ID() uint32 { return b.id }

// Acquire takes another reference.
func (b *BTF) Acquire() { b.refs.Add(1) }

func (b *BTF) tryAcquire() bool {
	for n := b.refs.Load(); n > 0; n = b.refs.Load() {
		if b.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Close gives a reference back.
func (b *BTF) Close() {
	if b.refs.Add(-1) == 0 {
		b.s.btfs.drop(b.id)
	}
}

// kernelBTF returns the object of the kernel's own types, or nil. It is the system's for good.
func (s *System) kernelBTF() *BTF {
	s.vmlinux.Do(func() {
		if s.o.KernelBTF == nil {
			return
		}
		spec := s.o.KernelBTF()
		if spec == nil {
			return
		}
		b := &BTF{s: s, spec: spec, kernel: true, name: "vmlinux"}
		b.refs.Store(1)
		if s.btfs.add(b, func(id uint32) { b.id = id }) == 0 {
			s.kernel = b
		}
	})
	return s.kernel
}

// bytes are the types in wire format.
func (b *BTF) bytes() []byte {
	if b.kernel && b.raw == nil && b.s.o.KernelBTFRaw != nil {
		return b.s.o.KernelBTFRaw()
	}
	return b.raw
}

// str returns a string of the object by its offset; ok is false outside (btf_name_valid…).
func (b *BTF) str(off uint32) (string, bool) {
	if uint64(off) >= uint64(len(b.strings)) {
		return "", false
	}
	s := b.strings[off:]
	return string(s[:bytes.IndexByte(s, 0)]), true
}

const (
	maxBTF        = 16 << 20 // BTF_MAX_SIZE
	btfHeaderSize = 24
	btfMagic      = 0xeb9f
)

// parseBTF reads types. The words are for the log.
//
//	┌───────┬─────────┬───────┬─────────┬──────────────┬────────────────┬─ ─
//	│ magic │ version │ flags │ hdr_len │ type off,len │ string off,len │
//	└───────┴─────────┴───────┴─────────┴──────────────┴────────────────┴─ ─
func parseBTF(raw []byte) (*BTF, string, errno.Errno) {
	if len(raw) < 8 {
		return nil, "hdr_len not found", errno.EINVAL
	}
	order := binary.NativeEndian
	hdr := order.Uint32(raw[4:])
	switch {
	case uint64(len(raw)) < uint64(hdr), hdr < btfHeaderSize:
		return nil, "btf_header not found", errno.EINVAL
	case order.Uint16(raw) != btfMagic:
		return nil, "Invalid magic", errno.EINVAL
	case raw[2] != 1:
		return nil, "Unsupported version", errno.ENOTSUPP
	case raw[3] != 0:
		return nil, "Unsupported flags", errno.ENOTSUPP
	case uint64(len(raw)) == uint64(hdr):
		return nil, "No data", errno.EINVAL
	}
	for _, b := range raw[btfHeaderSize:hdr] {
		if b != 0 {
			return nil, "Unsupported btf_header", errno.E2BIG
		}
	}
	body := raw[hdr:]
	off, n := uint64(order.Uint32(raw[16:])), uint64(order.Uint32(raw[20:]))
	// The sections lie one after the other, and nothing beside them.
	toff, tn := uint64(order.Uint32(raw[8:])), uint64(order.Uint32(raw[12:]))
	if toff != 0 || tn%4 != 0 || off != tn || off+n != uint64(len(body)) {
		return nil, "Unsupported section found", errno.EINVAL
	}
	if n == 0 {
		return nil, "Invalid string section", errno.EINVAL
	}
	b := &BTF{raw: raw, strings: body[off : off+n]}
	if b.strings[0] != 0 || b.strings[n-1] != 0 {
		return nil, "Invalid string section", errno.EINVAL
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err.Error(), errno.EINVAL
	}
	b.spec = spec
	b.refs.Store(1)
	return b, "", 0
}

// btfLoad follows bpf_btf_load.
func (c *call) btfLoad() (int32, errno.Errno) {
	a := as[btfLoad](&c.attr)
	if a.BtfFlags&^catalog.FlagTokenFD != 0 {
		return 0, errno.EINVAL
	}
	if a.BtfFlags != 0 {
		return 0, c.token(a.BtfTokenFd)
	}
	if !c.who.can(CapBPF) {
		return 0, errno.EPERM
	}
	if a.BtfSize > maxBTF {
		return 0, errno.E2BIG
	}
	log := userLog{level: a.BtfLogLevel, addr: a.BtfLogBuf, size: a.BtfLogSize}
	if !log.valid() {
		return 0, errno.EINVAL
	}
	raw, e := c.read(a.Btf, int(a.BtfSize))
	if e != 0 {
		return 0, e
	}
	b, why, e := parseBTF(raw)
	if a.BtfLogLevel == 0 {
		why = ""
	}
	size, le := c.writeLog(&log, why, len(why))
	if le != 0 {
		e = le
	}
	off := unsafe.Offsetof(a.BtfLogTrueSize)
	if uintptr(c.size) >= off+4 {
		if we := c.put(off, u32bytes(size)); we != 0 {
			e = we
		}
	}
	if e != 0 {
		return 0, e
	}
	if e := c.s.addBTF(b); e != 0 {
		return 0, e
	}
	return c.install(b)
}

// addBTF gives types an id.
func (s *System) addBTF(b *BTF) errno.Errno {
	b.s = s
	s.kernelBTF() // the first number is the kernel's
	return s.btfs.add(b, func(id uint32) { b.id = id })
}

// keepTypes is BTF_LOAD for what is loaded into the machine by other ways than bpf(2).
func (s *System) keepTypes(raw []byte) run.Types {
	b, _, e := parseBTF(raw)
	if e != 0 || s.addBTF(b) != 0 {
		return nil
	}
	return b
}
