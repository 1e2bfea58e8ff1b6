//go:build linux

package bpfsys

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// userOnly is this process's memory without the machine's, as user space is.
type userOnly struct{ selfMemory }

func (m userOnly) Read(addr uint64, b []byte) bool {
	return mem.Extent(addr) == 0 && m.selfMemory.Read(addr, b)
}

func (m userOnly) Write(addr uint64, b []byte) bool {
	return mem.Extent(addr) == 0 && m.selfMemory.Write(addr, b)
}

// Where things lie in the map that programs work on: an attribute, and what it points to.
const (
	inAttr, inCode, inLicense, inKey, inTypes = 0, 0x200, 0x300, 0x340, 0x400
	loaderRoom                                = 0x800
)

// loader is a side with a map for programs of type syscall.
type loader struct {
	*side
	room int32
	t    *testing.T
}

// run runs a program whose last call was the helper's, and returns its R0.
func (l *loader) run(code isa.Instructions) int64 {
	l.t.Helper()
	code = append(code, isa.StoreMem(isa.DW, 6, 0, 0), isa.Mov64Imm(0, 0), isa.ExitInsn())
	code = append(isa.Instructions{isa.Mov64Reg(6, 1)}, code...)
	copy(l.mem[atInsns:], isa.Encode(code, binary.NativeEndian))
	a := l.load(catalog.ProgSyscall)
	a.InsnCnt, a.ProgFlags = uint32(len(code)), catalog.LoadSleepable
	fd := l.must(l.t, "loader", ProgLoad, raw(a))
	defer l.drop("loader")
	l.must(l.t, "", ProgTestRun, raw(testRun{ProgFd: fd, CtxIn: l.addr(atKey), CtxSizeIn: 8}))
	return int64(binary.NativeEndian.Uint64(l.mem[atKey:]))
}

// call calls bpf_sys_bpf with an attribute, into which first go the addresses, by offset, of things in the map.
func (l *loader) call(cmd Cmd, attr []byte, size int32, addresses map[int16]int32) int64 {
	l.t.Helper()
	room := make([]byte, loaderRoom)
	copy(room[inAttr:], attr)
	copy(room[inCode:], isa.Encode([]isa.Instruction{isa.Mov64Imm(0, 0), isa.ExitInsn()}, binary.NativeEndian))
	copy(room[inLicense:], "GPL\x00task_newtask\x00")
	copy(room[inTypes:], smallBTF())
	copy(l.mem[atValue:], room)
	clear(l.mem[atKey:][:8])
	l.must(l.t, "", MapUpdateElem, raw(mapElem{MapFd: l.room, Key: l.addr(atKey), Value: l.addr(atValue)}))
	var code isa.Instructions
	code = append(code, isa.LdMapValue(2, l.room, inAttr)...)
	for off, at := range addresses {
		code = append(append(code, isa.LdMapValue(3, l.room, at)...), isa.StoreMem(isa.DW, 2, 3, off))
	}
	return l.run(append(code, isa.Mov64Imm(1, int32(cmd)), isa.Mov64Imm(3, size), isa.HelperCall(int32(catalog.FnSysBpf))))
}

// Programs of type syscall may do of bpf(2), to descriptors, and ask of types and user memory what they may on the
// kernel, with the same errors. (TestLightSkeleton of package serve has such programs on both engines.)
func TestLoadersCalls(t *testing.T) {
	k := both(t)
	k[1].who.Memory = userOnly{}
	var l [2]*loader
	for i, d := range k {
		l[i] = &loader{side: d, t: t}
		l[i].room = d.must(t, "room", MapCreate, raw(mapCreate{MapType: 2, KeySize: 4, ValueSize: loaderRoom, MaxEntries: 1}))
	}
	// ask compares; what is not negative and may differ, as descriptors do, is closed, and closed again.
	ask := func(what string, isFD bool, f func(l *loader) int64) {
		t.Helper()
		var got [2]int64
		for i, l := range l {
			got[i] = f(l)
			if !isFD || got[i] < 0 {
				continue
			}
			shut := func() int64 {
				return l.run(isa.Instructions{isa.Mov64Imm(1, int32(got[i])), isa.HelperCall(int32(catalog.FnSysClose))})
			}
			if first, again := shut(), shut(); first != 0 || again != -int64(errno.EBADF) {
				t.Errorf("%s: %s: closing descriptor %d: %d, again: %d", what, l.name, got[i], first, again)
			}
			got[i] = 0
		}
		if got[0] != got[1] {
			t.Errorf("%s: linux %d, skep %d", what, got[0], got[1])
		}
	}
	for cmd := range Cmd(len(commands) + 2) {
		ask(fmt.Sprintf("%v of nothing", cmd), true, func(l *loader) int64 { return l.call(cmd, nil, attrSize, nil) })
		ask(fmt.Sprintf("%v with a tail", cmd), true, func(l *loader) int64 {
			a := make([]byte, attrSize+8)
			a[attrSize] = 1
			return l.call(cmd, a, attrSize+8, nil)
		})
	}
	type addresses = map[int16]int32
	const insns, license, logBuf = 8, 16, 32
	load := func(d *loader) progLoad { return d.load(catalog.ProgSocketFilter) }
	for _, c := range []struct {
		what string
		cmd  Cmd
		attr func(d *loader) any
		at   addresses
	}{
		{"a map", MapCreate, func(*loader) any { return mapCreate{MapType: 1, KeySize: 4, ValueSize: 4, MaxEntries: 1} }, nil},
		{"a program", ProgLoad, func(d *loader) any { return load(d) }, addresses{insns: inCode, license: inLicense}},
		{"a program in user memory", ProgLoad, func(d *loader) any { return load(d) }, addresses{license: inLicense}},
		{"a license in user memory", ProgLoad, func(d *loader) any { return load(d) }, addresses{insns: inCode}},
		{"a log in kernel memory", ProgLoad, func(d *loader) any { return load(d) }, addresses{insns: inCode, license: inLicense, logBuf: inTypes}},
		{"types", BTFLoad, func(*loader) any { return btfLoad{BtfSize: uint32(len(smallBTF()))} }, addresses{0: inTypes}},
		{"types in user memory", BTFLoad, func(d *loader) any {
			return btfLoad{Btf: d.addr(atBTF), BtfSize: uint32(len(smallBTF()))}
		}, nil},
		{"a tracepoint", RawTracepointOpen, func(d *loader) any {
			return rawTracepointOpen{Name: d.addr(atName), ProgFd: d.made["rawtp"]}
		}, nil},
		{"a tracepoint in kernel memory", RawTracepointOpen, func(d *loader) any { return rawTracepointOpen{ProgFd: d.made["rawtp"]} }, addresses{0: inLicense + 4}},
	} {
		ask(c.what, true, func(l *loader) int64 { return l.call(c.cmd, raw(c.attr(l)), attrSize, c.at) })
	}
	for _, m := range []string{"hash", "array", "frozen"} {
		elem := func(l *loader) []byte {
			return raw(mapElem{MapFd: l.made[m], Key: l.addr(atKey), Value: l.addr(atKey)})
		}
		for _, cmd := range []Cmd{MapUpdateElem, MapLookupElem} {
			ask(fmt.Sprintf("%v of %s", cmd, m), false, func(l *loader) int64 { return l.call(cmd, elem(l), 32, addresses{8: inKey, 16: inKey}) })
			ask(fmt.Sprintf("%v of %s in user memory", cmd, m), false, func(l *loader) int64 { return l.call(cmd, elem(l), 32, nil) })
		}
		ask("MAP_DELETE_ELEM of "+m, false, func(l *loader) int64 { return l.call(MapDeleteElem, elem(l)[:16], 16, addresses{8: inKey}) })
	}
	ask("freezing", false, func(l *loader) int64 { return l.call(MapFreeze, raw(mapElem{MapFd: l.made["queue"]}), 4, nil) })
	for _, fd := range []int32{-1, 1 << 20} {
		ask(fmt.Sprintf("closing %d", fd), false, func(l *loader) int64 {
			return l.run(isa.Instructions{isa.Mov64Imm(1, fd), isa.HelperCall(int32(catalog.FnSysClose))})
		})
	}
	// Names of types, and of symbols that are none.
	for _, name := range []string{"task_struct\x00", "int\x00", "bpf_cmd\x00", "u64\x00", "schedule\x00", "no_such\x00", "open", "\x00"} {
		named := func(l *loader) isa.Instructions {
			copy(l.mem[atValue:][:64], name)
			l.must(l.t, "", MapUpdateElem, raw(mapElem{MapFd: l.room, Key: l.addr(atZero), Value: l.addr(atValue)}))
			return append(isa.Instructions(nil), isa.LdMapValue(1, l.room, 0)...)
		}
		for kind := range int32(21) {
			for flags := range int32(2) {
				ask(fmt.Sprintf("type %q of kind %d, flags %d", name, kind, flags), false, func(l *loader) int64 {
					return l.run(append(named(l), isa.Mov64Imm(2, int32(len(name))), isa.Mov64Imm(3, kind), isa.Mov64Imm(4, flags),
						isa.HelperCall(int32(catalog.FnBTFFindByNameKind))))
				})
			}
		}
		if name != "schedule\x00" {
			ask(fmt.Sprintf("symbol %q", name), false, func(l *loader) int64 {
				return l.run(append(append(named(l), isa.LdMapValue(4, l.room, 64)...), isa.Mov64Imm(2, int32(len(name))), isa.Mov64Imm(3, 0),
					isa.HelperCall(int32(catalog.FnKallsymsLookupName))))
			})
		}
	}
	// User memory, where there is some, and the map's own, which is none.
	for _, from := range []int{atZero, memSize - 4, -1} {
		ask(fmt.Sprintf("bpf_copy_from_user from %#x", from), false, func(l *loader) int64 {
			src := isa.LdMapValue(3, l.room, 0)
			if from >= 0 {
				src = isa.LdImm64(3, l.addr(from))
			}
			code := append(append(isa.Instructions(nil), src...), isa.LdMapValue(1, l.room, 64)...)
			return l.run(append(code, isa.Mov64Imm(2, 8), isa.HelperCall(int32(catalog.FnCopyFromUser))))
		})
	}
}
