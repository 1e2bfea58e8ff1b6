//go:build linux

package bpfsys

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Where the tests below have hashes and code, beside what prepare writes.
const (
	atHash  = atInsns + 0x100
	atOther = atHash + 0x40
	atCode  = atOther + 0x40
)

// same makes a call on both sides and compares errno, the log of a refusal, and the hash. It drops what is made.
func same(t *testing.T, sides [2]*side, what string, cmd Cmd, build func(d *side) []byte) {
	t.Helper()
	var said [2]string
	for i, d := range sides {
		clear(d.mem[atLog:atBTF])
		clear(d.mem[atOut:][:sha256.Size])
		a := build(d)
		fd, e := d.bpf(cmd, a, attrSize)
		if e == 0 && makesFD[cmd] {
			d.close(fd)
		}
		log, _, _ := bytes.Cut(d.mem[atLog:atBTF], []byte{0})
		if e == 0 { // what it says of a program has addresses in it
			log = nil
		}
		said[i] = fmt.Sprintf("%s\n%s%x", name(e), log, d.mem[atOut:][:sha256.Size])
	}
	if said[0] != said[1] {
		t.Errorf("%s:\nlinux: %s\nskep:  %s", what, said[0], said[1])
	}
}

// TestExclusiveMaps: a map that was made for one program is nobody else's, nor an inner map, as in the kernel.
func TestExclusiveMaps(t *testing.T) {
	sides := both(t)
	code := func(fd int32) []isa.Instruction {
		return isa.Program(isa.LdMapFD(isa.R1, fd), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	}
	hash := isa.Digest(code(7))
	for _, d := range sides {
		copy(d.mem[atHash:], hash[:])
		copy(d.mem[atOther:], "some other program's hash ......")
	}
	made := func(d *side, typ catalog.MapType, hash int) mapCreate {
		a := mapCreate{MapType: uint32(typ), KeySize: 4, ValueSize: 4, MaxEntries: 2}
		switch typ {
		case catalog.MapRingBuf:
			a.KeySize, a.ValueSize, a.MaxEntries = 0, 0, 4096
		case catalog.MapArrayOfMaps, catalog.MapHashOfMaps:
			a.InnerMapFd = d.made["inner"]
		}
		if hash != 0 {
			a.ExclProgHash, a.ExclProgHashSize = d.addr(hash), sha256.Size
		}
		return a
	}
	for _, d := range sides {
		d.must(t, "inner", MapCreate, raw(made(d, catalog.MapArray, 0)))
	}
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapHash, catalog.MapPerCPUHash, catalog.MapRingBuf, catalog.MapProgArray, catalog.MapArrayOfMaps, catalog.MapHashOfMaps} {
		for what, at := range map[string]int{"its own": atHash, "another's": atOther, "any": 0} {
			what = fmt.Sprint(typ, ", ", what)
			for _, d := range sides {
				d.must(t, "map", MapCreate, raw(made(d, typ, at)))
				for _, outer := range []catalog.MapType{catalog.MapArrayOfMaps, catalog.MapHashOfMaps} {
					d.must(t, outer.String(), MapCreate, raw(made(d, outer, 0)))
				}
			}
			for level := uint32(1); level < 3; level++ {
				same(t, sides, fmt.Sprint("a program names ", what, ", log level ", level), ProgLoad, func(d *side) []byte {
					copy(d.mem[atCode:], isa.Encode(code(d.made["map"]), binary.NativeEndian))
					a := d.load(catalog.ProgSocketFilter)
					a.Insns, a.InsnCnt, a.LogLevel = d.addr(atCode), 4, level
					return raw(a)
				})
			}
			same(t, sides, "a program is bound to "+what, ProgLoad, func(d *side) []byte {
				binary.NativeEndian.PutUint32(d.mem[atCode:], uint32(d.made["map"]))
				a := d.load(catalog.ProgSocketFilter)
				a.FdArray, a.FdArrayCnt = d.addr(atCode), 1
				return raw(a)
			})
			for _, outer := range []catalog.MapType{catalog.MapArrayOfMaps, catalog.MapHashOfMaps} {
				same(t, sides, fmt.Sprint(outer, " of ", what), MapCreate, func(d *side) []byte {
					a := made(d, outer, 0)
					a.InnerMapFd = d.made["map"]
					return raw(a)
				})
				same(t, sides, fmt.Sprint(what, " into ", outer), MapUpdateElem, func(d *side) []byte {
					binary.NativeEndian.PutUint32(d.mem[atValue:], uint32(d.made["map"]))
					return raw(mapElem{MapFd: d.made[outer.String()], Key: d.addr(atKey), Value: d.addr(atValue)})
				})
			}
			for _, d := range sides {
				for _, name := range []string{"map", catalog.MapArrayOfMaps.String(), catalog.MapHashOfMaps.String()} {
					d.drop(name)
				}
			}
		}
	}
}

// TestMapHashes: frozen arrays tell the hash of their values, as the kernel's do.
func TestMapHashes(t *testing.T) {
	sides := both(t)
	for _, c := range []mapCreate{
		{MapType: uint32(catalog.MapArray), KeySize: 4, ValueSize: 8, MaxEntries: 4},
		{MapType: uint32(catalog.MapArray), KeySize: 4, ValueSize: 7, MaxEntries: 3},
		{MapType: uint32(catalog.MapArray), KeySize: 4, ValueSize: 40, MaxEntries: 1, MapFlags: catalog.FlagMmapable},
		{MapType: uint32(catalog.MapArray), KeySize: 4, ValueSize: 5, MaxEntries: 2, MapFlags: catalog.FlagRdonlyProg},
		{MapType: uint32(catalog.MapHash), KeySize: 4, ValueSize: 8, MaxEntries: 4},
		{MapType: uint32(catalog.MapPerCPUArray), KeySize: 4, ValueSize: 8, MaxEntries: 4},
		{MapType: uint32(catalog.MapProgArray), KeySize: 4, ValueSize: 4, MaxEntries: 4},
	} {
		typ := catalog.MapType(c.MapType)
		for _, frozen := range []bool{false, true} {
			for _, d := range sides {
				fd := d.must(t, "map", MapCreate, raw(c))
				clear(d.mem[atKey:][:4])
				copy(d.mem[atValue:], "values that a hash is made over, of 40 bytes")
				if typ == catalog.MapArray {
					d.must(t, "value", MapUpdateElem, raw(mapElem{MapFd: fd, Key: d.addr(atKey), Value: d.addr(atValue)}))
				}
				if frozen {
					d.must(t, "freeze", MapFreeze, raw(mapElem{MapFd: fd}))
				}
			}
			for _, room := range []string{"there", "bad", "none"} {
				for _, size := range []uint32{0, 31, 32, 33} {
					what := fmt.Sprintf("%s of %d bytes, frozen: %t, room: %s, of %d", typ, c.ValueSize, frozen, room, size)
					same(t, sides, what, ObjGetInfoByFD, func(d *side) []byte {
						info := mapInfo{HashSize: size}
						switch room {
						case "there":
							info.Hash = d.addr(atOut)
						case "bad":
							info.Hash = 8
						}
						copy(d.mem[atInfo:], bytesOf(&info))
						return raw(objInfo{BpfFd: d.made["map"], InfoLen: 104, Info: d.addr(atInfo)})
					})
				}
			}
			for _, d := range sides {
				d.drop("map")
			}
		}
	}
}
