//go:build linux

package bpfsys

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cgroup"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle/cgroupfs"
)

// cgroupDirs makes three control groups, one below the other, and opens them.
func cgroupDirs(t *testing.T) (fds [cgroups]int32) {
	for i, dir := range cgroupfs.Nested(t, len(fds)) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		fds[i] = int32(fd)
	}
	return fds
}

// TestControlGroups attaches, detaches and asks at random, in three control
// groups one below the other, beside the kernel's.
func TestControlGroups(t *testing.T) {
	sides := both(t)
	real := cgroupDirs(t)
	const progs = 4
	for _, d := range sides {
		for i := range progs {
			a := d.load(catalog.ProgCGroupSKB)
			a.ExpectedAttachType = uint32(catalog.AttachCGroupInetIngress)
			d.must(t, fmt.Sprint("p", i), ProgLoad, raw(a))
			binary.NativeEndian.PutUint32(d.mem[4*i:], 0)
		}
		for i := range int32(cgroups) {
			d.made[fmt.Sprint("cg", i)] = cgroupFD + i
			if d.sys == nil {
				d.made[fmt.Sprint("cg", i)], _ = dup(real[i])
			}
		}
	}
	var links [2][]int32
	steps := 6000
	if testing.Short() {
		steps = 600
	}
	r := rand.New(rand.NewPCG(7, 11))
	pick := func(vals ...uint32) uint32 { return vals[r.IntN(len(vals))] }
	for step := range steps {
		cg, p, q := r.IntN(cgroups), r.IntN(progs), r.IntN(progs)
		flags := pick(0, 1, 2, 2, 2, 2, 2, 3, 2|64, 1|64, 2|4, 4, 2|8, 2|16, 2|8|16, 2|8|32, 2|16|32, 2|8|8192, 2|8|64, 2|16|64, 2|16|32|8192, 8, 16)
		relative := r.IntN(3) == 0 && flags&(8|16) != 0
		var revision uint64
		if r.IntN(20) == 0 {
			revision = uint64(r.IntN(6))
		}
		op := r.IntN(10)
		l := -1
		if len(links[0]) != 0 {
			l = r.IntN(len(links[0]))
		}
		var out [2]string
		for i, d := range sides {
			at := d.made[fmt.Sprint("cg", cg)]
			prog, other := d.made[fmt.Sprint("p", p)], d.made[fmt.Sprint("p", q)]
			var rel int32
			if relative {
				rel = other
				if flags&attachID != 0 {
					rel = int32(d.idOf(t, other))
				}
				if flags&attachLink != 0 {
					if rel = -1; l >= 0 {
						rel = links[i][l]
						if flags&attachID != 0 {
							rel = int32(d.idOf(t, rel))
						}
					}
				}
			}
			var e errno.Errno
			switch {
			case op < 3:
				a := progAttach{TargetFd: at, AttachBpfFd: prog, AttachFlags: flags, RelativeFd: rel, ExpectedRevision: revision}
				if flags&attachReplace != 0 {
					a.ReplaceBpfFd = other
				}
				_, e = d.bpf(ProgAttach, raw(a), attrSize)
			case op < 5:
				a := progAttach{TargetFd: at, AttachBpfFd: prog, ExpectedRevision: revision}
				if flags == 3 {
					a.AttachBpfFd = 0
				}
				_, e = d.bpf(ProgDetach, raw(a), attrSize)
			case op == 5:
				if len(links[i]) > 5 {
					break
				}
				a := linkCreate{ProgFd: prog, TargetFd: at, Flags: flags &^ (4 | 64)}
				if step%3 != 0 {
					a.Flags &^= cgroup.Multi
				}
				if flags == 1 {
					a.Flags = 64
				}
				binary.NativeEndian.PutUint32(a.Extra[:], uint32(rel))
				binary.NativeEndian.PutUint64(a.Extra[8:], revision)
				var fd int32
				if fd, e = d.bpf(LinkCreate, raw(a), attrSize); e == 0 {
					links[i] = append(links[i], fd)
				}
			case op == 6 && l >= 0:
				_, e = d.bpf(LinkUpdate, raw(linkUpdate{LinkFd: links[i][l], NewProgFd: prog}), attrSize)
			case op == 7 && l >= 0:
				if flags&8 != 0 {
					_, e = d.bpf(LinkDetach, raw(linkDetach{LinkFd: links[i][l]}), attrSize)
				}
				d.close(links[i][l])
				links[i] = append(links[i][:l:l], links[i][l+1:]...)
			}
			out[i] = fmt.Sprintf("%v", name(e))
			for _, query := range []uint32{0, queryEffective} {
				out[i] += " " + d.attached(at, query, 4, query == 0 && flags&1 != 0, progs)
			}
		}
		if out[0] != out[1] {
			t.Fatalf("step %d: op %d, group %d, program %d, other %d, flags %#x, relative %v, revision %d, links %d:\nlinux: %s\nskep:  %s",
				step, op, cg, p, q, flags, relative, revision, len(links[0]), out[0], out[1])
		}
	}
	for i, d := range sides {
		for _, fd := range links[i] {
			d.close(fd)
		}
	}
}

func dup(fd int32) (int32, error) {
	n, err := unix.Dup(int(fd))
	return int32(n), err
}

// idOf is the id of the program or link behind a descriptor.
func (d *side) idOf(t *testing.T, fd int32) uint32 {
	t.Helper()
	if _, e := d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: 8, Info: d.addr(atInfo)}), attrSize); e != 0 {
		t.Fatal(e)
	}
	return u32at(d.mem[atInfo:], 4)
}

// attached tells what a query shows, programs by their place among the test's.
func (d *side) attached(at int32, query, room uint32, each bool, progs int) string {
	clear(d.mem[atOut : atOut+256])
	a := raw(progQuery{TargetFd: at, AttachType: uint32(catalog.AttachCGroupInetIngress), QueryFlags: query, ProgIds: d.addr(atOut), Count: room})
	if each {
		binary.NativeEndian.PutUint64(a[unsafe.Offsetof(progQuery{}.ProgAttachFlags):], d.addr(atOut+128))
	}
	_, e := d.bpf(ProgQuery, a, attrSize)
	q := (*progQuery)(unsafe.Pointer(unsafe.SliceData(a)))
	text := fmt.Sprintf("%s flags %d count %d revision %d [", name(e), q.AttachFlags, q.Count, q.Revision)
	for i := range min(q.Count, room) {
		id := u32at(d.mem[atOut:], int(4*i))
		for p := range progs {
			fd := d.made[fmt.Sprint("p", p)]
			if d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: 8, Info: d.addr(atInfo)}), attrSize); u32at(d.mem[atInfo:], 4) == id {
				text += fmt.Sprintf("p%d/%d ", p, u32at(d.mem[atOut+128:], int(4*i)))
			}
		}
	}
	return text + "]"
}
