//go:build linux

package bpfsys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/isa"
)

// tracingSide is a system with programs at functions of the kernel.
type tracingSide struct {
	t     *testing.T
	s     *System
	fds   *table
	mem   bytesMemory
	notes int32 // the map they write to
}

func newTracingSide(t *testing.T, m *run.Machine, o Options) *tracingSide {
	o.KernelBTF = kernelSpec
	d := &tracingSide{t: t, s: New(m, o), fds: newTable(), mem: make(bytesMemory, memSize)}
	if d.s.kernelBTF() == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	copy(d.mem[atLicense:], "GPL\x00")
	d.notes = d.must(MapCreate, mapCreate{MapType: 2, KeySize: 4, ValueSize: 8 * noteWords, MaxEntries: 1})
	t.Cleanup(func() {
		d.fds.closeAll()
		d.s.Close()
		m.Close()
	})
	return d
}

const noteWords = 100

func (d *tracingSide) bpf(cmd Cmd, attr any) (int32, errno.Errno) {
	who := &Caller{Memory: d.mem, Files: d.fds, Caps: AllCaps}
	copy(d.mem[memSize-512:], raw(attr))
	return d.s.Bpf(who, uint32(cmd), memBase+memSize-512, attrSize)
}

func (d *tracingSide) must(cmd Cmd, attr any) int32 {
	d.t.Helper()
	fd, e := d.bpf(cmd, attr)
	if e != 0 {
		d.t.Fatal(cmd, e, string(d.mem[atLog:][:bytes.IndexByte(d.mem[atLog:], 0)]))
	}
	return fd
}

func (d *tracingSide) load(attach catalog.AttachType, name, text string) int32 {
	d.t.Helper()
	insns, err := isa.Assemble(name, text, isa.Symbols{Helper: func(name string) (int32, bool) {
		h := catalog.HelperByName(name)
		return int32(h.ID), h != nil
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	copy(d.mem[atInsns:], isa.Encode(insns, binary.NativeEndian))
	k := d.s.kernelBTF().spec
	a := loadAt(func(off int) uint64 { return memBase + uint64(off) }, catalog.ProgTracing)
	a.InsnCnt, a.ExpectedAttachType = uint32(len(insns)), uint32(attach)
	if attach == catalog.AttachTraceRawTp {
		id, err := k.TypeID(must(k.AnyTypeByName("btf_trace_" + name)))
		if err != nil {
			d.t.Fatal(err)
		}
		a.AttachBtfId = uint32(id)
	} else {
		var f *btf.Func
		if err := k.TypeByName(name, &f); err != nil {
			oracle.Need(d.t, name, err)
		}
		id, err := k.TypeID(f)
		if err != nil {
			d.t.Fatal(err)
		}
		a.AttachBtfId = uint32(id)
	}
	return d.must(ProgLoad, a)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// attach attaches a program and returns its link.
func (d *tracingSide) attach(prog int32) int32 {
	d.t.Helper()
	return d.must(RawTracepointOpen, rawTracepointOpen{ProgFd: prog})
}

// run is a test run: what it returns.
func (d *tracingSide) run(prog int32) (uint32, errno.Errno) {
	d.t.Helper()
	_, e := d.bpf(ProgTestRun, testRun{ProgFd: prog})
	return u32at(d.mem, memSize-512+int(unsafe.Offsetof(testRun{}.Retval))), e
}

// taken are the first n words of the map, which are zero then.
func (d *tracingSide) taken(n int) []uint64 {
	d.t.Helper()
	at := func(off int) uint64 { return memBase + uint64(off) }
	clear(d.mem[atKey:atName])
	d.must(MapLookupElem, mapElem{MapFd: d.notes, Key: at(atKey), Value: at(atValue)})
	words := make([]uint64, n)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(d.mem[atValue+8*i:])
	}
	clear(d.mem[atValue:atName])
	d.must(MapUpdateElem, mapElem{MapFd: d.notes, Key: at(atKey), Value: at(atValue)})
	return words
}

// noting is the text of a program that writes words of its context, the last of them the number behind the first pointer among at,
// to a place in the map, behind how often it did, and ends as end says.
func (d *tracingSide) noting(at int, words int, end string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
r6 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_fd[%d] ll
call map_lookup_elem
if r0 == 0 goto out
r1 = *(u64 *)(r0 + %d)
r1 += 1
*(u64 *)(r0 + %d) = r1
`, d.notes, 8*at, 8*at)
	for i := range words {
		fmt.Fprintf(&b, "r1 = *(u64 *)(r6 + %d)\n*(u64 *)(r0 + %d) = r1\n", 8*i, 8*(at+1+i))
	}
	fmt.Fprintf(&b, "r0 = %s\nexit\nout:\nr0 = 0\nexit", end)
	return b.String()
}

// eachTracing runs a test on each engine.
func eachTracing(t *testing.T, f func(t *testing.T, d *tracingSide)) {
	for _, c := range []struct {
		name string
		m    run.Options
		o    Options
	}{{"checked", run.Options{CPUs: 2, Checked: true}, Options{States: true}}, {"default", run.Options{CPUs: 2}, Options{}}} {
		t.Run(c.name, func(t *testing.T) {
			m, err := run.New(c.m)
			if err != nil {
				t.Fatal(err)
			}
			f(t, newTracingSide(t, m, c.o))
		})
	}
}

// TestTracingRuns: a test run of an fentry or fexit program calls the kernel's ten functions for it, and all that is
// attached to them sees the arguments and results that Linux's source has.
func TestTracingRuns(t *testing.T) {
	want := [][]uint64{{1, 2}, {2, 3, 5}, {4, 5, 6, 15}, {7, 8, 9, 10, 34}, {11, 12, 13, 14, 15, 65}, {16, 17, 18, 19, 20, 21, 111}, {0, 0}, nil, nil, {0, 0}}
	eachTracing(t, func(t *testing.T, d *tracingSide) {
		for i, w := range want {
			if w == nil {
				continue
			}
			name := fmt.Sprintf("bpf_fentry_test%d", i+1)
			entry := d.load(catalog.AttachTraceFEntry, name, d.noting(0, len(w)-1, "0"))
			exit := d.load(catalog.AttachTraceFExit, name, d.noting(20, len(w), "0"))
			if r, e := d.run(entry); r != 0 || e != 0 || d.taken(1)[0] != 0 {
				t.Errorf("%s: a run with nothing attached: %d, %v", name, r, e)
			}
			links := []int32{d.attach(entry), d.attach(exit)}
			for _, prog := range []int32{entry, exit} {
				if r, e := d.run(prog); r != 0 || e != 0 {
					t.Errorf("%s: %d, %v", name, r, e)
				}
				got := d.taken(30)
				if n := len(w); got[0] != 1 || got[20] != 1 || !slices.Equal(got[1:n], w[:n-1]) || !slices.Equal(got[21:21+n], w) {
					t.Errorf("%s: fentry saw %d, fexit %d, want %d", name, got[:8], got[20:], w)
				}
			}
			for _, fd := range append(links, entry, exit) {
				d.fds.close(fd)
			}
		}
		// These are given the address of a structure and of a number, both zero.
		for name, load := range map[string]string{"bpf_fentry_test8": "r1 = *(u64 *)(r1 + 0)\nr0 = *(u64 *)(r1 + 0)", "bpf_fentry_test9": `
r3 = *(u64 *)(r1 + 0)
*(u64 *)(r10 - 16) = -1
r1 = r10
r1 += -16
r2 = 4
call probe_read_kernel
r0 = *(u32 *)(r10 - 16)`} {
			prog := d.load(catalog.AttachTraceFExit, name, d.noting(0, 1, "0"))
			look := d.load(catalog.AttachTraceFEntry, name, load+fmt.Sprintf(`
r6 = r0
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_fd[%d] ll
call map_lookup_elem
if r0 == 0 goto out
r6 += 5
*(u64 *)(r0 + 80) = r6
out:
r0 = 0
exit`, d.notes))
			links := []int32{d.attach(prog), d.attach(look)}
			if _, e := d.run(prog); e != 0 {
				t.Error(name, e)
			}
			if got := d.taken(12); got[0] != 1 || got[1] == 0 || got[10] != 5 {
				t.Errorf("%s: seen %x", name, got)
			}
			for _, fd := range links {
				d.fds.close(fd)
			}
		}
	})
}

// TestModifyReturnRuns: what fmod_ret programs return is the result, the first that is not 0 in the place of the
// function, and those that run later do not.
func TestModifyReturnRuns(t *testing.T) {
	eachTracing(t, func(t *testing.T, d *tracingSide) {
		const first, second = "bpf_modify_return_test", "bpf_modify_return_test2"
		expect := func(what string, prog int32, want uint32, e errno.Errno) {
			t.Helper()
			if got, ge := d.run(prog); got != want || ge != e {
				t.Errorf("%s: %#x, %v, want %#x, %v", what, got, ge, want, e)
			}
		}
		pass := d.load(catalog.AttachModifyReturn, first, d.noting(0, 3, "0"))
		expect("nothing attached", pass, 2<<16|33, 0) // 1 + 3, and 1 + 3 + 3 + 4 + 5 + 6 + 7
		passes := d.attach(pass)
		expect("one that lets it pass", pass, 2<<16|33, 0)
		if got := d.taken(4); got[0] != 1 || got[1] != 1 || got[2] == 0 || got[3] != 0 {
			t.Errorf("it saw %x", got)
		}
		seven := d.load(catalog.AttachModifyReturn, first, d.noting(10, 1, "7"))
		exit := d.load(catalog.AttachTraceFExit, first, d.noting(20, 3, "0"))
		l := d.attach(seven)
		d.attach(exit)
		expect("one in the function's place", pass, 1<<16|7+29, 0)
		if got := d.taken(24); got[0] != 0 || got[10] != 1 || got[20] != 1 || got[23] != 7 {
			t.Errorf("the one attached before ran, or fexit saw %d", got)
		}
		minus := d.load(catalog.AttachModifyReturn, second, d.noting(30, 8, "-22"))
		d.attach(minus)
		expect("both", minus, 0xfff1, 0)
		if got := d.taken(39)[30:]; !slices.Equal(got[3:], []uint64{3, 4, 5, 6, 7, 0}) {
			t.Errorf("the second function's saw %d", got)
		}
		d.fds.close(l)
		expect("the second", minus, 1<<16|0xffee, 0)
		d.fds.close(passes)

		// A test function of fentry with another result than it should have.
		spoil := d.load(catalog.AttachModifyReturn, "bpf_fentry_test1", d.noting(0, 1, "3"))
		entry := d.load(catalog.AttachTraceFEntry, "bpf_fentry_test2", d.noting(10, 1, "0"))
		d.attach(entry)
		l = d.attach(spoil)
		d.taken(1)
		expect("a changed result", entry, 0, errno.EFAULT)
		if got := d.taken(11); got[0] != 1 || got[10] != 0 {
			t.Errorf("functions were called after it: %d", got)
		}
		d.fds.close(l)
		expect("the change undone", entry, 0, 0)
		raw := d.load(catalog.AttachTraceRawTp, "sched_switch", "r0 = 0\nexit")
		expect("a program of a tracepoint", raw, 0, errno.EFAULT)
	})
}
