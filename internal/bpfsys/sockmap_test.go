//go:build linux

package bpfsys

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// TestSockMapLinks attaches, detaches, links and asks at random, at two maps of sockets, beside the kernel's.
func TestSockMapLinks(t *testing.T) {
	sides := both(t)
	kinds := []struct {
		typ    catalog.ProgType
		attach catalog.AttachType
	}{
		{catalog.ProgSkMsg, catalog.AttachSkMsgVerdict}, {catalog.ProgSkMsg, catalog.AttachSkMsgVerdict},
		{catalog.ProgSkSKB, catalog.AttachSkSKBStreamVerdict}, {catalog.ProgSkSKB, catalog.AttachSkSKBStreamParser}, {catalog.ProgSkSKB, catalog.AttachSkSKBVerdict},
		{catalog.ProgSkSKB, 0}, {catalog.ProgSocketFilter, 0},
	}
	for _, d := range sides {
		for i, k := range kinds {
			a := d.load(k.typ)
			a.ExpectedAttachType = uint32(k.attach)
			d.must(t, fmt.Sprint("p", i), ProgLoad, raw(a))
		}
		d.must(t, "m0", MapCreate, raw(mapCreate{MapType: uint32(catalog.MapSockMap), KeySize: 4, ValueSize: 4, MaxEntries: 2}))
		d.must(t, "m1", MapCreate, raw(mapCreate{MapType: uint32(catalog.MapSockHash), KeySize: 4, ValueSize: 4, MaxEntries: 2}))
		d.must(t, "m2", MapCreate, raw(mapCreate{MapType: uint32(catalog.MapHash), KeySize: 4, ValueSize: 4, MaxEntries: 2}))
	}
	places := []catalog.AttachType{catalog.AttachSkMsgVerdict, catalog.AttachSkSKBStreamVerdict, catalog.AttachSkSKBStreamParser, catalog.AttachSkSKBVerdict}
	var links [2][]int32
	steps := 2000
	if testing.Short() {
		steps = 600
	}
	r := rand.New(rand.NewPCG(3, 5))
	for step := range steps {
		m, p, q, op := r.IntN(2), r.IntN(len(kinds)), r.IntN(len(kinds)), r.IntN(10)
		if r.IntN(50) == 0 {
			m = 2
		}
		at := kinds[p].attach
		if r.IntN(4) == 0 {
			at = places[r.IntN(len(places))]
		}
		flags, replace := uint32(0), r.IntN(3) == 0
		if r.IntN(20) == 0 {
			flags = 1
		}
		l := -1
		if len(links[0]) > 0 {
			l = r.IntN(len(links[0]))
		}
		var out [2]string
		for i, d := range sides {
			target, prog, other := d.made[fmt.Sprint("m", m)], d.made[fmt.Sprint("p", p)], d.made[fmt.Sprint("p", q)]
			var e errno.Errno
			switch {
			case op < 2:
				_, e = d.bpf(ProgAttach, raw(progAttach{TargetFd: target, AttachBpfFd: prog, AttachType: uint32(at), AttachFlags: flags}), attrSize)
			case op < 4:
				_, e = d.bpf(ProgDetach, raw(progAttach{TargetFd: target, AttachBpfFd: prog, AttachType: uint32(at)}), attrSize)
			case op < 6 && len(links[i]) < 6:
				var fd int32
				if fd, e = d.bpf(LinkCreate, raw(linkCreate{ProgFd: prog, TargetFd: target, AttachType: uint32(at), Flags: flags}), attrSize); e == 0 {
					links[i] = append(links[i], fd)
				}
			case op < 8 && l >= 0:
				a := linkUpdate{LinkFd: links[i][l], NewProgFd: prog}
				if replace {
					a.Flags, a.OldProgFd = attachReplace, other
				}
				_, e = d.bpf(LinkUpdate, raw(a), attrSize)
			case op == 8 && l >= 0:
				_, e = d.bpf(LinkDetach, raw(linkDetach{LinkFd: links[i][l]}), attrSize)
			case op == 9 && l >= 0:
				d.close(links[i][l])
				links[i] = append(links[i][:l:l], links[i][l+1:]...)
			}
			out[i] = name(e)
			for n := range 2 {
				for _, at := range places {
					out[i] += " " + d.sockProg(d.made[fmt.Sprint("m", n)], at, len(kinds))
				}
			}
			for _, fd := range links[i] {
				out[i] += " " + d.sockLink(t, fd)
			}
		}
		if out[0] != out[1] {
			t.Fatalf("step %d: op %d, map %d, program %d, other %d, at %v, flags %d, replace %v, links %d:\nlinux: %s\nskep:  %s",
				step, op, m, p, q, at, flags, replace, len(links[0]), out[0], out[1])
		}
	}
	for i, d := range sides {
		for _, fd := range links[i] {
			d.close(fd)
		}
	}
}

// sockProg tells which of the test's programs a map of sockets has at a place.
func (d *side) sockProg(m int32, at catalog.AttachType, progs int) string {
	clear(d.mem[atOut : atOut+8])
	a := raw(progQuery{TargetFd: m, AttachType: uint32(at), ProgIds: d.addr(atOut), Count: 1})
	_, e := d.bpf(ProgQuery, a, attrSize)
	q := (*progQuery)(unsafe.Pointer(unsafe.SliceData(a)))
	if e != 0 || q.Count == 0 {
		return fmt.Sprintf("%s/%d", name(e), q.Count)
	}
	return d.progName(u32at(d.mem[atOut:], 0), progs)
}

func (d *side) progName(id uint32, progs int) string {
	for p := range progs {
		fd := d.made[fmt.Sprint("p", p)]
		if d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: 8, Info: d.addr(atInfo)}), attrSize); u32at(d.mem[atInfo:], 4) == id {
			return fmt.Sprint("p", p)
		}
	}
	return "none of them"
}

// sockLink tells what a link says of itself, with its map by name.
func (d *side) sockLink(t *testing.T, fd int32) string {
	clear(d.mem[atInfo : atInfo+64])
	if _, e := d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: 24, Info: d.addr(atInfo)}), attrSize); e != 0 {
		t.Fatal(e)
	}
	typ, prog, id, at := u32at(d.mem[atInfo:], 0), u32at(d.mem[atInfo:], 8), u32at(d.mem[atInfo:], 16), u32at(d.mem[atInfo:], 20)
	where := fmt.Sprint(id)
	for n := range 2 {
		fd := d.made[fmt.Sprint("m", n)]
		if d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: 8, Info: d.addr(atInfo)}), attrSize); u32at(d.mem[atInfo:], 4) == id {
			where = fmt.Sprint("m", n)
		}
	}
	return fmt.Sprintf("[%d %s at %s %d]", typ, d.progName(prog, 7), where, at)
}
