package maps_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/socket"
	"github.com/skep-bpf/skep/isa"
)

// sockTwins are sockets of the kernel's, and ours that are like them, by descriptor.
type sockTwins struct {
	t     *testing.T
	table socket.Table
	ours  map[uint32]*socket.Socket
	fds   []uint32
	other map[uint32]errno.Errno
	names map[uint32]string
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// open makes a socket of the kernel's.
func (w *sockTwins) open(family, typ int, reuse bool) int {
	fd := must(unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0))
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			w.t.Fatal(err)
		}
	}
	return fd
}

func (w *sockTwins) bind(fd int, port int) netip.AddrPort {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
		w.t.Fatal(err)
	}
	return w.local(fd)
}

func (w *sockTwins) local(fd int) netip.AddrPort {
	sa := must(unix.Getsockname(fd)).(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
}

// add makes our twin of fd, in the group if there is one.
func (w *sockTwins) add(name string, fd int, spec socket.Spec, g *socket.Group) {
	s := must(socket.New(spec, must(unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE))))
	w.table.Number(s)
	if g != nil && !g.Add(s) {
		w.t.Fatal("not added to its group")
	}
	w.ours[uint32(fd)], w.names[uint32(fd)] = s, name
	w.fds = append(w.fds, uint32(fd))
}

// close closes one on both sides.
func (w *sockTwins) close(fd uint32) {
	unix.Close(int(fd))
	w.ours[fd].Close()
}

func newSockTwins(t *testing.T) *sockTwins {
	w := &sockTwins{t: t, ours: map[uint32]*socket.Socket{}, other: map[uint32]errno.Errno{}, names: map[uint32]string{}}
	none := netip.AddrPort{}

	var groups [2]socket.Group
	a := w.open(unix.AF_INET, unix.SOCK_DGRAM, true)
	local := w.bind(a, 0)
	w.add("udp in a group", a, socket.Spec{Protocol: socket.UDP, Local: local, Reuseport: true}, &groups[0])
	b := w.open(unix.AF_INET, unix.SOCK_DGRAM, true)
	w.bind(b, int(local.Port()))
	w.add("udp in a group, second", b, socket.Spec{Protocol: socket.UDP, Local: local, Reuseport: true}, &groups[0])

	c := w.open(unix.AF_INET, unix.SOCK_DGRAM, false)
	w.add("udp", c, socket.Spec{Protocol: socket.UDP, Local: w.bind(c, 0)}, nil)
	d := w.open(unix.AF_INET, unix.SOCK_DGRAM, false)
	w.bind(d, 0)
	if err := unix.Connect(d, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(local.Port())}); err != nil {
		t.Fatal(err)
	}
	w.add("udp connected", d, socket.Spec{Protocol: socket.UDP, Local: w.local(d), Remote: local}, nil)
	w.add("udp unbound", w.open(unix.AF_INET, unix.SOCK_DGRAM, false), socket.Spec{Protocol: socket.UDP}, nil)
	w.add("udp unbound, to share", w.open(unix.AF_INET, unix.SOCK_DGRAM, true), socket.Spec{Protocol: socket.UDP, Reuseport: true}, nil)

	l := w.open(unix.AF_INET, unix.SOCK_STREAM, true)
	local = w.bind(l, 0)
	w.add("tcp bound, to share", l, socket.Spec{Protocol: socket.TCP, Reuseport: true, State: socket.TCPClose, Local: local}, nil)

	l = w.open(unix.AF_INET, unix.SOCK_STREAM, true)
	local = w.bind(l, 0)
	if err := unix.Listen(l, 8); err != nil {
		t.Fatal(err)
	}
	w.add("tcp listening in a group", l, socket.Spec{Protocol: socket.TCP, Local: local, Reuseport: true}, &groups[1])

	client := w.open(unix.AF_INET, unix.SOCK_STREAM, false)
	if err := unix.Connect(client, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(local.Port())}); err != nil {
		t.Fatal(err)
	}
	w.add("tcp connected", client, socket.Spec{Protocol: socket.TCP, Local: w.local(client), Remote: local}, nil)
	served, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	w.add("tcp accepted", served, socket.Spec{Protocol: socket.TCP, Local: local, Remote: w.local(client)}, nil)

	l = w.open(unix.AF_INET, unix.SOCK_STREAM, false)
	local = w.bind(l, 0)
	if err := unix.Listen(l, 8); err != nil {
		t.Fatal(err)
	}
	w.add("tcp listening", l, socket.Spec{Protocol: socket.TCP, Local: local}, nil)
	w.add("tcp fresh", w.open(unix.AF_INET, unix.SOCK_STREAM, false), socket.Spec{Protocol: socket.TCP, Local: none}, nil)

	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	for _, fd := range pair {
		w.add("unix", fd, socket.Spec{State: socket.TCPEstablished}, nil)
	}

	f := must(os.Open("/dev/null"))
	t.Cleanup(func() { f.Close() })
	w.other[uint32(f.Fd())] = errno.ENOTSOCK
	w.other[1<<20] = errno.EBADF
	w.other[1<<31] = errno.EBADF
	t.Cleanup(func() {
		for _, fd := range w.fds {
			unix.Close(int(fd))
			w.ours[fd].Close()
		}
	})
	return w
}

func (w *sockTwins) resolve(fd uint32) (*socket.Socket, error) {
	if s := w.ours[fd]; s != nil {
		return s, nil
	}
	return nil, w.other[fd]
}

// values are values that name a socket, or nothing.
func (w *sockTwins) values() (all []uint32) {
	all = append(all, w.fds...)
	for fd := range w.other {
		all = append(all, fd)
	}
	return all
}

// TestSocketMapsAgainstKernel puts sockets in and out of maps, two maps of all kinds at a time.
func TestSocketMapsAgainstKernel(t *testing.T) {
	for _, c := range []struct {
		typ       catalog.MapType
		key, size uint32
	}{
		{catalog.MapReuseportSockarray, 4, 4}, {catalog.MapReuseportSockarray, 4, 8},
		{catalog.MapSockMap, 4, 4}, {catalog.MapSockMap, 4, 8},
		{catalog.MapSockHash, 4, 8}, {catalog.MapSockHash, 7, 8},
	} {
		t.Run(fmt.Sprintf("%s/%d/%d", c.typ, c.key, c.size), func(t *testing.T) {
			cfg := config(t)
			w := newSockTwins(t)
			cfg.Sock = w.resolve
			r := rand.New(rand.NewPCG(9, uint64(c.typ)))
			var pairs []*pair
			for _, d := range []catalog.MapDef{
				def(c.typ, c.key, c.size, 5, 0), def(c.typ, c.key, c.size, 3, 0),
				def(catalog.MapReuseportSockarray, 4, 8, 3, 0), def(catalog.MapSockMap, 4, 8, 3, 0),
			} {
				ours := must(maps.New(cfg, d))
				defer ours.Close()
				kern := must(linux.NewMap(&d, nil))
				defer kern.Close()
				pairs = append(pairs, pairOf(t, ours, kern))
			}
			values := w.values()
			op := func() {
				p := pairs[r.IntN(len(pairs))]
				d := p.ours.Def()
				key := make([]byte, d.KeySize)
				copy(key, u32([]uint32{0, 1, 2, 3, 4, 5, 9, 1<<32 - 1}[r.IntN(8)]))
				switch r.IntN(8) {
				case 0, 1, 2, 3:
					v := values[r.IntN(len(values))]
					value := u32(v)
					if d.ValueSize == 8 {
						value = append(value, u32([]uint32{0, 0, 0, 0, 1}[r.IntN(5)])...)
					}
					t.Logf("%s", w.names[v])
					p.update(key, value, []uint64{0, 0, 0, 1, 2, 3, 4}[r.IntN(7)])
				case 4:
					p.lookup(key, 0)
				case 5, 6:
					p.delete(key)
				case 7:
					p.nextKey(key)
				}
			}
			for range 1500 {
				op()
			}
			for _, p := range pairs {
				p.walk()
			}
			// A socket that is closed leaves the maps.
			for _, fd := range w.fds[:len(w.fds)-2] {
				w.close(fd)
			}
			for _, p := range pairs {
				for k := range uint32(5) {
					key := make([]byte, p.ours.Def().KeySize)
					copy(key, u32(k))
					p.lookup(key, 0)
				}
				p.pop(make([]byte, p.ours.Def().KeySize), 0)
				p.batch(batchLookup, maps.Batch{Count: 1})
				p.batch(batchDelete, maps.Batch{Count: 1})
				p.freeze()
			}
		})
	}
}

// TestSocketMapSizes compares which sizes and flags maps of sockets may have.
func TestSocketMapSizes(t *testing.T) {
	cfg := config(t)
	for _, typ := range []catalog.MapType{catalog.MapReuseportSockarray, catalog.MapSockMap, catalog.MapSockHash} {
		for _, key := range []uint32{0, 3, 4, 8, 512, 513} {
			for _, value := range []uint32{0, 4, 5, 8, 12} {
				for _, n := range []uint32{0, 1, 7} {
					for _, flags := range []uint32{0, 1, 4, 8, 16, 24, 128, 256, 1024} {
						d := def(typ, key, value, n, flags)
						ours, err := maps.New(cfg, d)
						if err == nil {
							ours.Close()
						}
						kern, kerr := linux.NewMap(&d, nil)
						if kerr == nil {
							kern.Close()
						}
						if a, b := number(t, err), number(t, kerr); a != b {
							t.Errorf("%s key %d value %d entries %d flags %d: %v, kernel says %v", typ, key, value, n, flags, a, b)
						}
					}
				}
			}
		}
	}
}

// sockProg is a program for a map of sockets, of the kernel's and in name.
type sockProg struct {
	kern *linux.LoadedProg
	ours *fakeProg
	at   catalog.AttachType
}

func sockProgs(t *testing.T) (progs []sockProg) {
	for _, a := range []struct {
		typ catalog.ProgType
		at  catalog.AttachType
	}{
		{catalog.ProgSkMsg, catalog.AttachSkMsgVerdict}, {catalog.ProgSkSKB, catalog.AttachSkSKBStreamParser},
		{catalog.ProgSkSKB, catalog.AttachSkSKBStreamVerdict}, {catalog.ProgSkSKB, catalog.AttachSkSKBVerdict},
		{catalog.ProgSkSKB, catalog.AttachSkSKBVerdict},
	} {
		k := must(linux.Load(&linux.Prog{Type: a.typ, Attach: a.at, License: "GPL",
			Insns: isa.Program(isa.Mov64Imm(isa.R0, 1), isa.ExitInsn())}))
		p := &fakeProg{owner: maps.ProgOwner{Type: a.typ, Attach: a.at}}
		t.Cleanup(func() {
			k.Close()
			if p.refs != 0 {
				t.Errorf("%s: %d references left", a.at, p.refs)
			}
		})
		progs = append(progs, sockProg{k, p, a.at})
	}
	return progs
}

// TestSocketMapProgsAgainstKernel attaches programs to maps of sockets, and
// puts sockets in that have programs of other maps.
func TestSocketMapProgsAgainstKernel(t *testing.T) {
	cfg := config(t)
	progs := sockProgs(t)
	// Every socket goes from a map with some programs to another with some, fresh each time.
	sets := [][]int{{}, {0}, {1}, {2}, {3}, {1, 2}, {0, 1, 2}, {0, 3}, {1, 3}}
	for _, first := range sets {
		for _, second := range sets {
			t.Run(fmt.Sprint(first, second), func(t *testing.T) {
				w := newSockTwins(t)
				cfg.Sock = w.resolve
				for _, fd := range w.fds {
					what := w.names[fd]
					for _, set := range [][]int{first, second, first} {
						d := def(catalog.MapSockMap, 4, 8, 3, 0)
						ours := must(maps.New(cfg, d))
						t.Cleanup(ours.Close)
						kern := must(linux.NewMap(&d, nil))
						t.Cleanup(func() { kern.Close() })
						for _, k := range set {
							must(0, attachTo(kern, progs[k].kern, progs[k].at))
							must(0, ours.(*maps.SockMap).AttachSock(progs[k].ours, nil, progs[k].at))
						}
						value := append(u32(fd), 0, 0, 0, 0)
						for range 2 {
							a, b := number(t, ours.Update(u32(0), value, 0)), number(t, kern.Update(u32(0), value, 0))
							if a != b {
								t.Errorf("%s %v %v: %v, kernel says %v", what, first, second, a, b)
							}
							what += " (" + b.Error() + ")"
						}
					}
				}
			})
		}
	}
}

// TestSocketMapMovesAgainstKernel moves sockets through maps whose programs change.
func TestSocketMapMovesAgainstKernel(t *testing.T) {
	cfg := config(t)
	progs := sockProgs(t)
	for seed := range uint64(20) {
		w := newSockTwins(t)
		cfg.Sock = w.resolve
		r := rand.New(rand.NewPCG(10, seed))
		var pairs []*pair
		for _, d := range []catalog.MapDef{
			def(catalog.MapSockMap, 4, 8, 3, 0), def(catalog.MapSockHash, 4, 8, 3, 0), def(catalog.MapSockMap, 4, 8, 3, 0),
		} {
			ours := must(maps.New(cfg, d))
			t.Cleanup(ours.Close)
			kern := must(linux.NewMap(&d, nil))
			t.Cleanup(func() { kern.Close() })
			pairs = append(pairs, pairOf(t, ours, kern))
		}
		fds := w.fds[r.IntN(4) : 7+r.IntN(4)]
		for range 300 {
			n := r.IntN(len(pairs))
			p, g, key := pairs[n], progs[r.IntN(len(progs))], u32(uint32(r.IntN(3)))
			sm := p.ours.(interface {
				AttachSock(p, old maps.Prog, at catalog.AttachType) error
			})
			say := func(what string, a ...any) { t.Logf("map %d: "+what, append([]any{n}, a...)...) }
			switch r.IntN(6) {
			case 0:
				say("attach %s", g.at)
				p.same("attach", sm.AttachSock(g.ours, nil, g.at), attachTo(p.kern, g.kern, g.at))
			case 1:
				say("detach %s", g.at)
				p.same("detach", sm.AttachSock(nil, g.ours, g.at), detachFrom(p.kern, g.kern, g.at))
			case 2, 3, 4:
				fd := fds[r.IntN(len(fds))]
				say("%d = %s", key, w.names[fd])
				p.update(key, append(u32(fd), 0, 0, 0, 0), 0)
			case 5:
				say("delete %d", key)
				p.delete(key)
			}
		}
	}
}

// attachTo is BPF_PROG_ATTACH to a map, detachFrom BPF_PROG_DETACH.
func attachTo(m *linux.Map, p *linux.LoadedProg, at catalog.AttachType) error {
	return attachCall(8, m, p, at)
}

func detachFrom(m *linux.Map, p *linux.LoadedProg, at catalog.AttachType) error {
	return attachCall(9, m, p, at)
}

func attachCall(cmd uintptr, m *linux.Map, p *linux.LoadedProg, at catalog.AttachType) error {
	attr := [4]uint32{uint32(m.FD()), uint32(p.FD()), uint32(at)}
	if _, _, e := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); e != 0 {
		return errno.Errno(e)
	}
	return nil
}

// storageDef is an sk_storage map whose value is size bytes.
func storageDef(size uint32) catalog.MapDef {
	d := def(catalog.MapSkStorage, 4, size, 0, catalog.FlagNoPrealloc)
	d.Key = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	d.Value = &btf.Array{Index: d.Key, Type: &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}, Nelems: size}
	return d
}

// TestSkStorageAgainstKernel keeps values with sockets.
func TestSkStorageAgainstKernel(t *testing.T) {
	cfg := config(t)
	for _, c := range []func(*catalog.MapDef){
		func(*catalog.MapDef) {},
		func(d *catalog.MapDef) { d.MaxEntries = 1 }, func(d *catalog.MapDef) { d.Flags = 0 },
		func(d *catalog.MapDef) { d.Flags |= catalog.FlagClone }, func(d *catalog.MapDef) { d.Flags |= catalog.FlagRdonly },
		func(d *catalog.MapDef) { d.Key, d.Value = nil, nil },
		func(d *catalog.MapDef) { *d = storageDef(1); d.KeySize = 8 },
		func(d *catalog.MapDef) { *d = storageDef(1 << 15) }, func(d *catalog.MapDef) { *d = storageDef(1<<16 - 129) },
		func(d *catalog.MapDef) { *d = storageDef(1<<16 - 128) },
		func(d *catalog.MapDef) { *d = storageDef(1<<16 - 1) }, func(d *catalog.MapDef) { *d = storageDef(1 << 16) },
		func(d *catalog.MapDef) { d.Key = &btf.Int{Name: "long", Size: 8}; d.KeySize = 8 },
	} {
		d := storageDef(8)
		c(&d)
		ours, err := maps.New(cfg, d)
		if err == nil {
			ours.Close()
		}
		kern, kerr := linux.NewMap(&d, nil)
		if kerr == nil {
			kern.Close()
		}
		if a, b := number(t, err), number(t, kerr); a != b {
			t.Errorf("%+v: %v, kernel says %v", d, a, b)
		}
	}

	w := newSockTwins(t)
	cfg.Sock = w.resolve
	r := rand.New(rand.NewPCG(11, 1))
	var pairs []*pair
	for _, size := range []uint32{8, 13} {
		d := storageDef(size)
		ours := must(maps.New(cfg, d))
		defer ours.Close()
		kern := must(linux.NewMap(&d, nil))
		defer kern.Close()
		pairs = append(pairs, pairOf(t, ours, kern))
	}
	keys := w.values()
	for i := range 800 {
		p := pairs[r.IntN(2)]
		key := u32(keys[r.IntN(len(keys))])
		switch r.IntN(6) {
		case 0, 1, 2:
			value := make([]byte, p.vlen)
			value[0], value[p.vlen-1] = byte(i), 7
			p.update(key, value, []uint64{0, 0, 0, 1, 2, 3, 4}[r.IntN(7)])
		case 3, 4:
			p.lookup(key, 0)
		case 5:
			p.delete(key)
		}
	}
	for _, p := range pairs {
		p.nextKey(u32(keys[0]))
		p.pop(u32(keys[0]), 0)
		p.batch(batchLookup, maps.Batch{Count: 1})
		p.freeze()
		p.update(u32(keys[0]), make([]byte, p.vlen), 0)
	}
}

// TestSkStorageOfClosed: a socket's values go with it.
func TestSkStorageOfClosed(t *testing.T) {
	var table socket.Table
	s := must(socket.New(socket.Spec{Protocol: socket.UDP}, 1))
	m := must(maps.New(&maps.Config{Sock: func(uint32) (*socket.Socket, error) { return s, nil }}, storageDef(8))).(*maps.LocalStorage)
	table.Number(s)
	if m.Storage(s, false, 0) != 0 || m.Storage(s, true, 0) == 0 || m.Storage(s, false, 0) == 0 {
		t.Error("a value is made when it is asked for, and then only")
	}
	s.Close()
	if m.Storage(s, false, 0) != 0 || m.Storage(s, true, 0) != 0 {
		t.Error("a closed socket has a value")
	}
	m.Close()
}
