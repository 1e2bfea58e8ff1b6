//go:build linux

package bpfsys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// shownTypes are a key and a value that have of each kind what the kernel shows alike: no pointers but null, which
// the value begins with (others are hashed), no arrays of arrays, of which it repeats the first, and no small enums,
// which it reads as 4 bytes.
func shownTypes() (key, value btf.Type) {
	number := func(size uint32, e btf.IntEncoding) *btf.Int {
		return &btf.Int{Name: fmt.Sprintf("int%d_%d", size, e), Size: size, Encoding: e}
	}
	array := func(t btf.Type, n uint32) btf.Type {
		return &btf.Array{Index: number(4, btf.Unsigned), Type: t, Nelems: n}
	}
	structOf := func(name string, types ...btf.Type) *btf.Struct {
		s := &btf.Struct{Name: name}
		for i, t := range types {
			s.Members = append(s.Members, btf.Member{Name: fmt.Sprint("m", i), Type: t, Offset: btf.Bits(8 * s.Size)})
			n, err := btf.Sizeof(t)
			if err != nil {
				panic(err)
			}
			s.Size += uint32(n)
		}
		return s
	}
	var numbers []btf.Type
	for _, size := range []uint32{1, 2, 4, 8} {
		numbers = append(numbers, number(size, btf.Signed), number(size, btf.Unsigned))
	}
	inner := structOf("inner", append(numbers, number(1, btf.Bool))...)
	float := &btf.Float{Name: "float", Size: 4} // where it is aligned, or Linux refuses it
	bits := structOf("bits")
	for i, n := range []btf.Bits{3, 5, 7, 17, 32} {
		bits.Members = append(bits.Members, btf.Member{Name: fmt.Sprint("b", i), Type: number(4, btf.Unsigned), Offset: btf.Bits(32*i) + btf.Bits(i%2)*(32-n), BitfieldSize: n})
		bits.Size += 4
	}
	deep := structOf("deep", float, inner, number(16, btf.Signed),
		&btf.Union{Name: "u", Size: 4, Members: []btf.Member{{Name: "a", Type: number(4, btf.Signed)}, {Name: "b", Type: array(number(1, btf.Signed), 4)}}},
		&btf.Union{Name: "empty"}, structOf("nothing"),
		&btf.Enum{Name: "e", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "ZERO"}, {Name: "MINUS", Value: ^uint64(0)}}},
		&btf.Enum{Name: "e64", Size: 8, Values: []btf.EnumValue{{Name: "LARGE", Value: 1 << 40}}},
		&btf.Typedef{Name: "t", Type: &btf.Const{Type: array(inner, 2)}},
		array(number(1, btf.Char), 8), array(number(1, btf.Unsigned), 3), array(number(2, btf.Signed), 3), array(number(1, btf.Bool), 2),
		array(number(4, btf.Unsigned), 0))
	pointer := &btf.Pointer{Target: inner}
	return inner, structOf("value", pointer, array(pointer, shownPointers-1),
		array(structOf("arrays", array(number(2, btf.Unsigned), 2), structOf("s", number(4, btf.Signed)), number(4, btf.Signed)), 2),
		&btf.Union{Name: "uf", Size: 4, Members: []btf.Member{{Name: "f", Type: float}}},
		deep, bits, number(4, btf.Signed))
}

// shownPointers is how many pointers the value begins with.
const shownPointers = 3

// TestMapsAreShown: what is read from the file of a pinned map is what Linux gives, for values drawn at random.
func TestMapsAreShown(t *testing.T) {
	sides := both(t)
	key, value := shownTypes()
	index := &btf.Int{Name: "index", Size: 4}
	section := &btf.Datasec{Name: ".bss", Size: 8, Vars: []btf.VarSecinfo{
		{Type: &btf.Var{Name: "one", Type: index, Linkage: btf.GlobalVar}, Size: 4},
		{Type: &btf.Var{Name: "two", Type: &btf.Array{Index: index, Type: index, Nelems: 1}, Linkage: btf.GlobalVar}, Offset: 4, Size: 4},
	}}
	cpus := ebpf.MustPossibleCPU()
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		typ        catalog.MapType
		key, value btf.Type
		entries    uint32
	}{
		{catalog.MapArray, index, value, 3}, {catalog.MapArray, index, index, 3}, {catalog.MapArray, nil, section, 1},
		{catalog.MapHash, key, value, 1}, {catalog.MapLRUHash, key, value, 1}, // of one element: their order is chance
		{catalog.MapPerCPUArray, index, value, 3}, {catalog.MapPerCPUHash, key, key, 1}, {catalog.MapLRUPerCPUHash, index, value, 1},
		{catalog.MapProgArray, &btf.Enum{Name: "index", Size: 4, Values: []btf.EnumValue{{Name: "ZERO"}}}, index, 0}, {catalog.MapHash, nil, nil, 1}, // without types
	} {
		a := mapCreate{MapType: uint32(c.typ), KeySize: 4, ValueSize: 4, MaxEntries: max(c.entries, 1)}
		b, err := btf.NewBuilder(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			t        btf.Type
			id, size *uint32
		}{{c.key, &a.BtfKeyTypeId, &a.KeySize}, {c.value, &a.BtfValueTypeId, &a.ValueSize}} {
			if x.t == nil {
				continue
			}
			id, err := b.Add(x.t)
			if err != nil {
				t.Fatal(err)
			}
			size, err := btf.Sizeof(x.t)
			if err != nil {
				t.Fatal(err)
			}
			*x.id, *x.size = uint32(id), uint32(size)
		}
		types, err := b.Marshal(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		stride, copies := int(a.ValueSize), 1
		if catalog.MapKindByType(c.typ).Traits&catalog.PerCPU != 0 {
			stride, copies = (stride+7)&^7, cpus
		}
		elems := make([][2][]byte, c.entries)
		for i := range elems {
			k, v := make([]byte, a.KeySize), make([]byte, stride*copies)
			for j := range v {
				if c.value != value || j%stride >= 8*shownPointers {
					v[j] = byte(r.Uint32() >> r.IntN(32)) // many are 0
				}
			}
			copy(k, v[len(v)-stride:])
			if c.entries > 1 || c.key == nil {
				clear(k)
				k[0] = byte(i)
			}
			elems[i] = [2][]byte{k, v}
		}
		var said [2]string
		for i, d := range sides {
			a := a
			if c.value != nil {
				copy(d.mem[atBTF:], types)
				a.BtfFd = d.must(t, "types", BTFLoad, raw(btfLoad{Btf: d.addr(atBTF), BtfSize: uint32(len(types)), BtfLogBuf: d.addr(atLog), BtfLogSize: atBTF - atLog, BtfLogLevel: 1}))
				defer d.close(a.BtfFd)
			}
			fd := d.must(t, "map", MapCreate, raw(a))
			defer d.close(fd)
			for _, e := range elems {
				copy(d.mem[atKey:], e[0])
				copy(d.mem[atInfo:], e[1]) // there is room for many CPUs
				d.must(t, "element", MapUpdateElem, raw(mapElem{MapFd: fd, Key: d.addr(atKey), Value: d.addr(atInfo)}))
			}
			var id uint32 // of the program in the map
			if c.typ == catalog.MapProgArray {
				e := raw(mapElem{MapFd: fd, Key: d.addr(atZero), Value: d.addr(atValue)})
				binary.NativeEndian.PutUint32(d.mem[atValue:], uint32(d.made["xdp"]))
				d.must(t, "program", MapUpdateElem, e)
				d.must(t, "program", MapLookupElem, e)
				id = binary.NativeEndian.Uint32(d.mem[atValue:])
			}
			said[i] = strings.Replace(shown(t, d, fd), fmt.Sprintf("\n0: %d\n", id), "\n0: ID\n", 1)
		}
		if said[0] != said[1] {
			t.Errorf("%s\nlinux: %s\nskep:  %s", c.typ, said[0], said[1])
		}
	}
}

// shown is what the file gives that a map is pinned as, or that it cannot be opened.
func shown(t *testing.T, d *side, fd int32) string {
	var text string
	var e errno.Errno
	if d.sys == nil {
		path := fmt.Sprintf("/sys/fs/bpf/skep-shown-%d", os.Getpid())
		copy(d.mem[atName:], path+"\x00")
		d.must(t, "pin", ObjPin, raw(objPin{Pathname: d.addr(atName), BpfFd: fd}))
		defer unix.Unlink(path)
		b, err := os.ReadFile(path)
		var no unix.Errno
		if errors.As(err, &no); err != nil && no == 0 {
			t.Fatal(err)
		}
		text, e = string(b), errno.Errno(no)
	} else {
		f, _ := d.fds.File(fd)
		text, e = f.Object().(Map).Show()
		f.Put()
	}
	return fmt.Sprint(text, name(e))
}
