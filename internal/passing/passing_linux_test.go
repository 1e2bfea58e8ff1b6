package passing_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/passing"
	"github.com/skep-bpf/skep/isa"
)

// pair is a socket pair of a kind.
func pair(t testing.TB, kind int) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

// sealed is a file that nobody can change.
func sealed(t testing.TB, content string) *os.File {
	t.Helper()
	s, err := mem.NewSealed([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := s.Hand()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Messages come whole and in order, over every kind of socket.
func TestMessages(t *testing.T) {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET, unix.SOCK_DGRAM} {
		a, b := pair(t, kind)
		for _, n := range []int{0, 1, passing.MaxFiles} {
			var files []*os.File
			for range n {
				files = append(files, sealed(t, "one"))
			}
			if err := passing.Send(a, []byte("manifest"), files); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range []int{0, 1, passing.MaxFiles} {
			manifest, files, err := passing.Receive(b)
			if err != nil || string(manifest) != "manifest" || len(files) != n {
				t.Fatalf("%q, %d files, %v", manifest, len(files), err)
			}
			passing.Close(files)
		}
	}
	a, b := pair(t, unix.SOCK_STREAM)
	if err := passing.Send(a, nil, make([]*os.File, passing.MaxFiles+1)); err == nil {
		t.Error("more files than a message takes were sent")
	}
	a.Close()
	if _, _, err := passing.Receive(b); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// What is no message is refused, and the files that came with it are closed.
func TestForeignMessages(t *testing.T) {
	good := []byte("skep\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
	with := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	disk, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	open, err := mem.NewShared(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	writable, err := open.Hand()
	if err != nil {
		t.Fatal(err)
	}
	defer writable.Close()
	for name, c := range map[string]struct {
		frame []byte
		files []*os.File
	}{
		"other words":         {with(0, 'S'), []*os.File{sealed(t, "{}")}},
		"another version":     {with(4, 9), []*os.File{sealed(t, "{}")}},
		"more files promised": {with(8, 2), []*os.File{sealed(t, "{}")}},
		"a word too much":     {with(12, 1), []*os.File{sealed(t, "{}")}},
		"no file":             {good, nil},
		"a file on disk":      {good, []*os.File{disk}},
		"a file not sealed":   {good, []*os.File{writable}},
		"cut off":             {good[:9], []*os.File{sealed(t, "{}")}},
	} {
		a, b := pair(t, unix.SOCK_STREAM)
		before := descriptors(t)
		var fds []int
		for _, f := range c.files {
			fds = append(fds, int(f.Fd()))
		}
		if _, _, err := a.WriteMsgUnix(c.frame, unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		a.CloseWrite()
		if _, _, err := passing.Receive(b); !errors.Is(err, passing.ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
		if n := descriptors(t); n > before {
			t.Errorf("%s: %d descriptors were %d", name, n, before)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// object is a program with types, functions and lines.
func object(t testing.TB) (*image.Image, *image.Program) {
	t.Helper()
	fn := &btf.Func{Name: "main", Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4}}}
	b, err := btf.NewBuilder([]btf.Type{fn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.TypeByName("main", &fn); err != nil {
		t.Fatal(err)
	}
	insns, err := isa.Assemble("p", "r0 = 0\nexit", isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	p := &image.Program{Name: "p", Section: "tc", Insns: insns, Funcs: []image.FuncInfo{{Func: fn}},
		Lines: []image.LineInfo{{Slot: 1, File: "p.c", Line: "return 0;", LineNo: 3, Column: 2}}}
	return &image.Image{License: "GPL", BTF: spec}, p
}

// A program without raw types (of a CollectionSpec) has them after its journey.
func TestProgramsKeepTheirTypes(t *testing.T) {
	img, p := object(t)
	o, add, err := passing.NewObject(img)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(p); err != nil {
		t.Fatal(err)
	}
	c := passing.Collection{Objects: []*passing.Object{o}}
	text, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := passing.Decode(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	back, err := got.Objects[0].Image(binary.NativeEndian)
	if err != nil {
		t.Fatal(err)
	}
	q := back.Programs[0]
	if back.License != "GPL" || q.Section != "tc" || len(q.Insns) != 2 || q.Funcs[0].Func.Name != "main" || q.Lines[0] != p.Lines[0] {
		t.Errorf("%+v became %+v", p, q)
	}
}

// FuzzManifest: what another process says is an error or something that can be looked at, never a panic.
func FuzzManifest(f *testing.F) {
	img, p := object(f)
	o, add, err := passing.NewObject(img)
	if err != nil {
		f.Fatal(err)
	}
	add(p)
	types, err := passing.NewMapTypes(nil, &btf.Int{Name: "int", Size: 4})
	if err != nil {
		f.Fatal(err)
	}
	c := passing.Collection{Objects: []*passing.Object{o}, Maps: []passing.Map{{Name: "m", Types: types}}}
	text, err := c.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"Maps":[{"File":-1}]}`))
	f.Add([]byte(`{"Objects":[null]}`))
	f.Add([]byte(`{"Objects":[{"Maps":[7],"Programs":[{"Insns":"AAA=","Funcs":[{"ID":4294967295}]}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := passing.Decode(text, 1)
		if err != nil {
			return
		}
		for _, m := range c.Maps {
			m.Types.Load()
		}
		for _, o := range c.Objects {
			o.Image(binary.NativeEndian)
		}
	})
}
