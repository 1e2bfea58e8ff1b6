package bpfsys

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// uprobes are the instructions of one file that a link attaches to.
type uprobes struct {
	path                   string
	offsets, refs, cookies []byte // 8 bytes each; refs and cookies may be missing
	count, flags, pid      uint32
}

const (
	maxUprobes   = 1 << 20 // MAX_UPROBE_MULTI_CNT
	uprobeReturn = 1       // BPF_F_UPROBE_MULTI_RETURN
)

// linkUprobes follows bpf_uprobe_multi_link_attach. No instruction of any process is ever hit.
func (c *call) linkUprobes(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	path, offsets, refs, cookies := u64at(a.Extra[:], 0), u64at(a.Extra[:], 8), u64at(a.Extra[:], 16), u64at(a.Extra[:], 24)
	u := &uprobes{count: a.Cnt, flags: a.KindFlags, pid: a.Pid}
	switch {
	case a.Flags != 0, p.Info.Attach != attach, u.flags&^uprobeReturn != 0, path == 0, offsets == 0, u.count == 0, int32(u.pid) < 0:
		return 0, errno.EINVAL
	case u.count > maxUprobes:
		return 0, errno.E2BIG
	}
	name, ok := readString(c.who.user(), path, maxPath)
	if !ok {
		return 0, errno.EFAULT
	}
	if c.who.Places == nil {
		return 0, errno.ENOENT
	}
	real, size, e := c.who.Places.Regular(name)
	if e == errno.EINVAL {
		e = errno.EBADF
	}
	if e != 0 {
		return 0, e
	}
	u.path = real
	if u.pid != 0 && !c.who.Places.Alive(int32(u.pid)) {
		return 0, errno.ESRCH
	}
	for _, in := range []struct {
		addr uint64
		to   *[]byte
	}{{offsets, &u.offsets}, {refs, &u.refs}, {cookies, &u.cookies}} {
		if in.addr == 0 {
			continue
		}
		*in.to = make([]byte, 8*int(u.count))
		if !c.who.user().Read(in.addr, *in.to) {
			return 0, errno.EFAULT
		}
	}
	for r := range each(u.offsets, 8) {
		if binary.NativeEndian.Uint64(r) > uint64(size) {
			return 0, errno.EINVAL
		}
	}
	l := &Link{typ: LinkUprobeMulti, attach: attach, uprobes: u}
	if e := c.s.newLink(l, p); e != 0 {
		return 0, e
	}
	return c.install(l)
}

// uprobesInfo is the part of struct bpf_link_info for them (bpf_uprobe_multi_link_fill_link_info):
//
//	{path, offsets, ref_ctr_offsets, cookies u64, path_size, count, flags, pid u32}
func (c *call) uprobesInfo(in, out *linkInfo, u *uprobes) errno.Errno {
	path, room, have := u64at(in.U[:], 0), u32at(in.U[:], 32), u32at(in.U[:], 36)
	arrays := []struct {
		to   uint64
		data []byte
	}{{u64at(in.U[:], 8), u.offsets}, {u64at(in.U[:], 16), u.refs}, {u64at(in.U[:], 24), u.cookies}}
	wanted := false
	for _, a := range arrays {
		wanted = wanted || a.to != 0
	}
	if (path == 0) != (room == 0) || wanted && have == 0 {
		return errno.EINVAL
	}
	copy(out.U[:32], in.U[:32])
	put := binary.NativeEndian.PutUint32
	put(out.U[32:], uint32(len(u.path)+1))
	put(out.U[36:], u.count)
	put(out.U[40:], u.flags)
	put(out.U[44:], u.pid)
	if path != 0 {
		if uint64(room) < uint64(len(u.path))+1 {
			return errno.ENAMETOOLONG
		}
		if e := c.write(path, append([]byte(u.path), 0)); e != 0 {
			return e
		}
	}
	n := min(have, u.count)
	for _, a := range arrays {
		data := a.data
		if a.to == 0 {
			continue
		}
		if data == nil { // no counters, no cookies
			data = make([]byte, 8*u.count)
		}
		if e := c.write(a.to, data[:8*n]); e != 0 {
			return e
		}
	}
	if wanted && have < u.count {
		return errno.ENOSPC
	}
	return 0
}
