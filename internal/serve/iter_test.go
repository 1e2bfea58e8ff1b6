//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// iterate runs an iterator program over a map, or over all objects, and returns what it wrote. obj is the
// argument that ends the walk when it is nil; body has the context in r6, that argument in
// r8, and leaves the number of bytes it put below the frame pointer in r3.
func iterate(target string, m *ebpf.Map, obj int16, body asm.Instructions) ([]byte, error) {
	p, err := ebpf.NewProgram(iterator(target, obj, body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	l, err := link.AttachIter(link.IterOptions{Program: p, Map: m})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	defer l.Close()
	f, err := l.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	defer f.Close()
	return io.ReadAll(f)
}

// iterator is such a program.
func iterator(target string, obj int16, body asm.Instructions) *ebpf.ProgramSpec {
	insns := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R8, asm.R6, 8*obj, asm.DWord),
		asm.JNE.Imm(asm.R8, 0, "body"),
		asm.Ja.Label("end"),
		asm.Mov.Imm(asm.R3, 0).WithSymbol("body"),
	}
	insns = append(insns, body...)
	insns = append(insns,
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord), // meta->seq
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -64),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	)
	return &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: target, License: "GPL", Instructions: insns}
}

// pinned pins an iterator over maps and reads its file, by its whole name and from within its directory; and opens maps,
// one of which has types, and a program.
func pinned(m *ebpf.Map) error {
	body, err := fields("bpf_map", "map_type", "max_entries")
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgram(iterator("bpf_map", 1, body))
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	dir := "/sys/fs/bpf/read-pins"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	typed, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, Key: number, Value: number, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	if err != nil {
		return err
	}
	defer typed.Close()
	if err := typed.Put(int32(1), int32(-7)); err != nil {
		return err
	}
	for name, o := range map[string]interface{ Pin(string) error }{"/iter": l, "/map": m, "/typed": typed, "/prog": p} {
		if err := o.Pin(dir + name); err != nil {
			return err
		}
	}
	was, err := os.ReadFile(dir + "/iter")
	if err != nil {
		return err
	}
	another, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 77777})
	if err != nil {
		return err
	}
	defer another.Close()
	d, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	fd, err := unix.Openat(d, "iter", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	is, err := io.ReadAll(os.NewFile(uintptr(fd), "iter")) // each time it is opened it walks anew
	if err != nil {
		return err
	}
	for _, b := range [][]byte{was, is} {
		found := false
		for ; len(b) >= 16; b = b[16:] {
			found = found || binary.NativeEndian.Uint64(b[8:]) == 77777
		}
		fmt.Println("the new map is there:", found)
	}
	for _, name := range []string{"/map", "/typed", "/prog"} {
		text, err := os.ReadFile(dir + name)
		fmt.Println(string(text), err)
	}
	return nil
}

// fields copies 8-byte words of what r8 points at to the stack, by the offsets of a kernel struct's members.
func fields(name string, members ...string) (body asm.Instructions, err error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	var t *btf.Struct
	if err := spec.TypeByName(name, &t); err != nil {
		return nil, err
	}
	for i, want := range members {
		for _, m := range t.Members {
			if m.Name == want {
				size, err := btf.Sizeof(m.Type)
				if err != nil {
					return nil, err
				}
				width := asm.Word
				if size >= 8 {
					width = asm.DWord
				}
				body = append(body, asm.LoadMem(asm.R0, asm.R8, int16(m.Offset.Bytes()), width), asm.StoreMem(asm.RFP, int16(8*i-64), asm.R0, asm.DWord))
			}
		}
	}
	return append(body, asm.Mov.Imm(asm.R3, int32(8*len(members)))), nil
}

func init() {
	// iterates prints what iterators show of objects that it makes: the kernel has others besides.
	clients["iterates"] = func() error {
		spec := &ebpf.MapSpec{Type: ebpf.Hash, Name: "iterated", KeySize: 4, ValueSize: 8, MaxEntries: 33}
		hash, err := ebpf.NewMap(spec)
		if err != nil {
			return err
		}
		body, err := fields("bpf_map", "name", "map_type", "key_size", "value_size", "max_entries")
		if err != nil {
			return err
		}
		all, err := iterate("bpf_map", nil, 1, body)
		if err != nil {
			return err
		}
		for ; len(all) >= 40; all = all[40:] {
			if bytes.HasPrefix(all, []byte("iterated")) {
				fmt.Printf("map %q\n", all[:40])
			}
		}
		if body, err = fields("bpf_prog", "type", "expected_attach_type"); err != nil {
			return err
		}
		if all, err = iterate("bpf_prog", nil, 1, body); err != nil {
			return err
		}
		for last := all[max(0, len(all)-16):]; len(last) == 16; last = nil { // the newest is the iterator itself
			fmt.Printf("prog %x\n", last)
		}
		if body, err = fields("bpf_link", "type"); err != nil {
			return err
		}
		if all, err = iterate("bpf_link", nil, 1, body); err != nil {
			return err
		}
		fmt.Printf("link %x\n", all[max(0, len(all)-8):])
		if err := pinned(hash); err != nil {
			return err
		}
		none, err := iterate("udp", nil, 1, asm.Instructions{asm.Mov.Imm(asm.R3, 0)})
		fmt.Printf("udp %q %v\n", none, err)
		return hash.Close()
	}
	// elements walks maps; kernels that are locked down do not load such a program.
	clients["elements"] = func() error {
		elem := asm.Instructions{
			asm.LoadMem(asm.R9, asm.R6, 24, asm.DWord), asm.JEq.Imm(asm.R9, 0, "end"),
			asm.LoadMem(asm.R0, asm.R8, 0, asm.Word), asm.StoreMem(asm.RFP, -64, asm.R0, asm.DWord),
			asm.LoadMem(asm.R0, asm.R9, 0, asm.DWord), asm.StoreMem(asm.RFP, -56, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R3, 16),
		}
		for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.Hash, ebpf.PerCPUArray, ebpf.LRUHash} {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 3})
			if err != nil {
				return err
			}
			for i := range uint32(3) {
				var v any = uint64(100 + i)
				if typ == ebpf.PerCPUArray {
					v = append(make([]uint64, 0), make([]uint64, ebpf.MustPossibleCPU())...)
					v.([]uint64)[0] = uint64(200 + i)
				}
				if err := m.Put(i, v); err != nil {
					return err
				}
			}
			all, err := iterate("bpf_map_elem", m, 2, elem)
			if err != nil {
				return err
			}
			sum := 0 // hashes have no order
			for _, b := range all {
				sum += int(b)
			}
			want := 0 + 1 + 2 + 100 + 101 + 102
			if typ == ebpf.PerCPUArray {
				want += 300
			}
			if len(all) != 3*16 || sum != want {
				return fmt.Errorf("%v: %d bytes, sum %d, want %d", typ, len(all), sum, want)
			}
			m.Close()
		}
		return nil
	}
}

func TestMapElements(t *testing.T) {
	sys, code := serveClient(t, "elements")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}

// What iterators show of the same objects is what the kernel's show.
func TestIterators(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	env := append(os.Environ(), "SERVE_CLIENT=iterates")
	native := exec.Command("/proc/self/exe")
	native.Env = env
	want, err := native.Output()
	if os.Getuid() != 0 {
		err = os.ErrPermission
	}
	oracle.Need(t, "the live kernel's iterators", err)
	var errs, out bytes.Buffer
	sys, done, err := NewSystem(MachineOptions{}, &errs)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"}, Env: env, Stdout: &out, Stderr: &errs})
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, errs.String())
	}
	if out.String() != string(want) {
		t.Errorf("skep:\n%s\nlinux:\n%s", out.String(), want)
	}
}
