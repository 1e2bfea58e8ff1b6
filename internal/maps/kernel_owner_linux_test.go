package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle/cgroupfs"
	"github.com/skep-bpf/skep/isa"
)

// ownersOf resolves the descriptors of this process for our side.
func ownersOf(t *maps.Objects) func(catalog.MapOwners, uint32) (*maps.Object, error) {
	return func(kind catalog.MapOwners, fd uint32) (*maps.Object, error) {
		if kind == catalog.OwnersCGroups {
			id := groupOf(int(fd))
			if id == 0 {
				return nil, errno.EBADF
			}
			return t.Get(maps.Identity{Kind: kind, ID: id}, 0), nil
		}
		id, born, e := maps.ObjectAt(os.Getpid(), kind, int32(fd))
		if e != 0 {
			return nil, e
		}
		return t.Get(id, born), nil
	}
}

// groupOf is the number of the control group that a descriptor is of, 0 for others.
func groupOf(fd int) uint64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0
	}
	return st.Ino
}

// openAt opens a file or directory until the test ends.
func openAt(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestOwnersAgainstKernel keeps values with tasks and control groups.
func TestOwnersAgainstKernel(t *testing.T) {
	child := exec.Command("cat")
	in := must(child.StdinPipe())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	var tasks []int
	for _, pid := range []int{os.Getpid(), os.Getppid(), child.Process.Pid, ended.Process.Pid} {
		fd := must(unix.PidfdOpen(pid, 0))
		defer unix.Close(fd)
		tasks = append(tasks, fd)
	}
	ended.Wait()
	groups := []string{cgroupfs.New(t), cgroupfs.New(t), cgroupfs.New(t)}
	null := openAt(t, "/dev/null")
	keys := map[catalog.MapType][]int{
		catalog.MapTaskStorage: append(tasks, null, 1<<20, -1),
		catalog.MapCGrpStorage: {openAt(t, groups[0]), openAt(t, groups[0]), openAt(t, groups[1]),
			openAt(t, groups[0]+"/cgroup.procs"), openAt(t, t.TempDir()), null, 1 << 20, -1},
	}
	for _, typ := range []catalog.MapType{catalog.MapTaskStorage, catalog.MapCGrpStorage} {
		t.Run(typ.String(), func(t *testing.T) {
			var table maps.Objects
			cfg := config(t)
			cfg.Object = ownersOf(&table)
			var pairs []*pair
			for _, size := range []uint32{8, 13} {
				d := storageDef(size)
				d.Type = typ
				ours := must(maps.New(cfg, d))
				defer ours.Close()
				kern := must(linux.NewMap(&d, nil))
				defer kern.Close()
				pairs = append(pairs, pairOf(t, ours, kern))
			}
			r := rand.New(rand.NewPCG(11, uint64(typ)))
			found := 0
			for i := range 800 {
				p := pairs[r.IntN(2)]
				key := u32(uint32(keys[typ][r.IntN(len(keys[typ]))]))
				switch r.IntN(6) {
				case 0, 1, 2:
					value := make([]byte, p.vlen)
					value[0], value[p.vlen-1] = byte(i), 7
					p.update(key, value, []uint64{0, 0, 0, 1, 2, 3, 4}[r.IntN(7)])
				case 3, 4:
					if _, e := p.lookup(key, 0); e == 0 {
						found++
					}
				case 5:
					p.delete(key)
				}
			}
			if found < 50 {
				t.Errorf("%d values found", found)
			}
			for _, p := range pairs {
				key := u32(uint32(keys[typ][0]))
				p.nextKey(key)
				p.pop(key, 0)
				p.batch(batchLookup, maps.Batch{Count: 1})
				p.freeze()
				p.update(key, make([]byte, p.vlen), 0)
			}
		})
	}
	in.Close()
	child.Wait()
}

// TestStorageRulesAgainstKernel asks which storages can be made.
func TestStorageRulesAgainstKernel(t *testing.T) {
	cfg := config(t)
	long := &btf.Int{Name: "long", Size: 8}
	place := &btf.Struct{Name: "place", Size: 16, Members: []btf.Member{{Name: "a", Type: long}, {Name: "b", Type: &btf.Int{Name: "u", Size: 4}, Offset: 64}}}
	lock := &btf.Struct{Name: "v", Size: 8, Members: []btf.Member{{Name: "l", Type: &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: &btf.Int{Name: "u", Size: 4}}}}}}}
	bad := *place
	bad.Members = append([]btf.Member{}, place.Members...)
	bad.Members[1].Type = &btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "x"}}}
	for _, typ := range []catalog.MapType{
		catalog.MapTaskStorage, catalog.MapInodeStorage, catalog.MapCGrpStorage, catalog.MapCGroupArray,
		catalog.MapCGroupStorage, catalog.MapPerCPUCGroupStorage,
	} {
		for i, c := range []func(*catalog.MapDef){
			func(*catalog.MapDef) {},
			func(d *catalog.MapDef) { d.MaxEntries ^= 1 },
			func(d *catalog.MapDef) { d.Flags = 0 },
			func(d *catalog.MapDef) { d.Flags |= catalog.FlagClone },
			func(d *catalog.MapDef) { d.Flags |= catalog.FlagRdonly },
			func(d *catalog.MapDef) { d.Flags |= catalog.FlagRdonlyProg },
			func(d *catalog.MapDef) { d.Flags |= catalog.FlagRdonlyProg | catalog.FlagWronlyProg },
			func(d *catalog.MapDef) { d.Key, d.Value = nil, nil },
			func(d *catalog.MapDef) { d.Key, d.Value, d.KeySize = nil, nil, 8 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.KeySize = nil, nil, 12 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.KeySize = nil, nil, 16 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.ValueSize = nil, nil, 0 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.ValueSize = nil, nil, 1<<15 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.ValueSize = nil, nil, 1<<15+1 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.ValueSize = nil, nil, 1<<16-129 },
			func(d *catalog.MapDef) { d.Key, d.Value, d.ValueSize = nil, nil, 1<<16-128 },
			func(d *catalog.MapDef) { d.Key, d.KeySize = long, 8 },
			func(d *catalog.MapDef) { d.Key, d.KeySize = place, 16 },
			func(d *catalog.MapDef) { d.Key, d.KeySize = &bad, 16 },
			func(d *catalog.MapDef) { d.Value, d.ValueSize = lock, 8 },
		} {
			d := storageDef(8)
			d.Type = typ
			switch row := catalog.MapKindByType(typ); row.Owners {
			case catalog.OwnersNone:
				d.Flags = 0
				d.KeySize = 8
				d.Key = long
				if typ == catalog.MapCGroupArray {
					d.KeySize, d.ValueSize, d.MaxEntries = 4, 4, 2
					d.Key, d.Value = nil, nil
				}
			}
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
				t.Errorf("%s, case %d, %+v: %v, kernel says %v", typ, i, d, a, b)
			}
		}
	}
}

// TestCGroupArrayAgainstKernel puts control groups into arrays.
func TestCGroupArrayAgainstKernel(t *testing.T) {
	var table maps.Objects
	cfg := config(t)
	cfg.Object = ownersOf(&table)
	groups := []string{cgroupfs.New(t), cgroupfs.New(t)}
	d := def(catalog.MapCGroupArray, 4, 4, 3, 0)
	ours := must(maps.New(cfg, d))
	defer ours.Close()
	kern := must(linux.NewMap(&d, nil))
	defer kern.Close()
	p := pairOf(t, ours, kern)
	values := []int{openAt(t, groups[0]), openAt(t, groups[1]), openAt(t, "/dev/null"), openAt(t, t.TempDir()), 1 << 20, -1}
	r := rand.New(rand.NewPCG(3, 8))
	for range 300 {
		key := u32(r.Uint32N(5))
		switch r.IntN(4) {
		case 0, 1:
			p.update(key, u32(uint32(values[r.IntN(len(values))])), []uint64{0, 0, 0, 1, 2, 3}[r.IntN(6)])
		case 2:
			p.delete(key)
		case 3:
			p.lookup(key, 0)
		}
	}
	p.walk()
	p.pop(u32(0), 0)
	p.batch(batchLookup, maps.Batch{Count: 1})
	p.update(u32(1), u32(uint32(values[0])), 0)
	if id, ok := ours.(*maps.CGroupArray).Group(1); !ok || id != groupOf(values[0]) {
		t.Errorf("group %d %v", id, ok)
	}
	p.freeze()
	p.delete(u32(1))
}

// TestCGroupStorageAgainstKernel attaches a program that has storages to a control group.
func TestCGroupStorageAgainstKernel(t *testing.T) {
	group := openAt(t, cgroupfs.New(t))
	const attach = 1 // BPF_CGROUP_INET_EGRESS
	for _, keySize := range []uint32{8, 16} {
		for _, typ := range []catalog.MapType{catalog.MapCGroupStorage, catalog.MapPerCPUCGroupStorage} {
			t.Run(fmt.Sprint(typ, keySize), func(t *testing.T) {
				cfg := config(t)
				d := def(typ, keySize, 12, 0, 0)
				ours := must(maps.New(cfg, d))
				defer ours.Close()
				kern := must(linux.NewMap(&d, nil))
				defer kern.Close()
				p := pairOf(t, ours, kern)
				key := binary.NativeEndian.AppendUint64(nil, groupOf(group))
				other := append(binary.NativeEndian.AppendUint64(nil, 1<<40), make([]byte, keySize-8)...)
				if keySize == 16 {
					key = append(key, attach, 0, 0, 0, 0, 0, 0, 0)
				}
				empty := func() {
					t.Helper()
					p.lookup(key, 0)
					p.update(key, make([]byte, p.vlen), 0)
					p.delete(key)
					if _, e := p.nextKey(nil); e != errno.ENOENT {
						t.Errorf("a key where there is none: %v", e)
					}
				}
				empty()
				prog := must(linux.Load(&linux.Prog{Type: catalog.ProgCGroupSKB, License: "GPL", Insns: isa.Program(
					isa.LdMapFD(isa.R1, int32(kern.FD())), isa.Mov64Imm(isa.R2, 0), isa.HelperCall(int32(catalog.FnGetLocalStorage)),
					isa.Mov64Imm(isa.R0, 1), isa.ExitInsn())}))
				defer prog.Close()
				if err := linux.ProgAttach(prog.FD(), group, attach, 0); err != nil {
					t.Fatal(err)
				}
				defer linux.ProgDetach(prog.FD(), group, attach)
				place := ours.(interface {
					Place(maps.GroupPlace) errno.Errno
				})
				for range 2 {
					if e := place.Place(maps.GroupPlace{Group: groupOf(group), Attach: attach}); e != 0 {
						t.Fatal(e)
					}
				}
				r := rand.New(rand.NewPCG(5, 5))
				p.nextKey(nil)
				for i := range 200 {
					k := key
					if r.IntN(8) == 0 {
						k = other
					}
					switch r.IntN(4) {
					case 0, 1:
						v := make([]byte, p.vlen)
						v[0], v[11] = byte(i), 9
						p.update(k, v, []uint64{0, 0, 1, 2, 3, 4}[r.IntN(6)])
					case 2:
						p.lookup(k, 0)
					case 3:
						p.delete(k)
					}
				}
				p.pop(key, 0)
				p.batch(batchLookup, maps.Batch{Count: 1})
				if _, e := p.lookup(key, 0); e != 0 {
					t.Error(e)
				}
				p.freeze()
				p.update(key, make([]byte, p.vlen), 0)
			})
		}
	}
}
