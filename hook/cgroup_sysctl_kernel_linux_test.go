package hook_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// TestCgroupSysctlAgainstKernel reads and writes settings of the network past
// programs: each finds the same, and the same is written.
func TestCgroupSysctlAgainstKernel(t *testing.T) {
	const at = skep.AttachCGroupSysctl
	// text asks a helper for text of up to n bytes at a word, and writes its answer down before it.
	text := func(helper string, word, n int, flags string) string {
		return fmt.Sprintf("r1 = r6\nr2 = r9\nr2 += %d\nr3 = %d\n%scall %s\n*(u32 *)(r9 + %d) = r0\n", 4*word+4, n, flags, helper, 4*word)
	}
	look := text("sysctl_get_name", 4, 40, "r4 = 0\n") + text("sysctl_get_name", 16, 40, "r4 = 1\n") +
		text("sysctl_get_name", 28, 8, "r4 = 0\n") + text("sysctl_get_name", 32, 1, "r4 = 1\n") +
		text("sysctl_get_current_value", 36, 32, "") + text("sysctl_get_current_value", 46, 2, "") + text("sysctl_get_current_value", 48, 1, "") +
		text("sysctl_get_new_value", 50, 32, "") + text("sysctl_get_new_value", 60, 2, "") + "call get_retval\n*(u32 *)(r9 + 8) = r0\n"
	set := func(value uint32, n int) string {
		return fmt.Sprintf("*(u32 *)(r10 - 4) = %d\nr1 = r6\nr2 = r10\nr2 += -4\nr3 = %d\ncall sysctl_set_new_value\n*(u32 *)(r9 + 248) = r0\n", int32(value), n)
	}
	prog := func(name, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSysctl, Attach: at,
			Text: peeking(0, []field{{0, 4}, {4, 4}, {0, 1}, {4, 1}}, more, r0)}
	}
	p := cgroupPair(t, 1,
		prog("look", look, "1"), prog("set", look+set('6'|'3'<<8, 2), "1"), prog("set1", set('6'|'1'<<8|'\n'<<16, 3), "1"),
		prog("bad", set('x', 1), "1"), prog("set_no", set('6'|'2'<<8, 2), "0"),
		prog("no", look, "0"), prog("acces", "r1 = -13\ncall set_retval\n", "0"), prog("forgive", "r1 = 0\ncall set_retval\n", "1"),
		prog("pos", "r1 = 1\n*(u32 *)(r6 + 4) = r1\n", "1"), prog("home", "r1 = 0\n*(u32 *)(r6 + 4) = r1\n", "1"))
	for _, c := range []struct {
		name  string
		write string
		chain []string
		pos   int64
	}{
		{"net/ipv4/tcp_fin_timeout", "", []string{"look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"set"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"no", "look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"acces"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"acces", "forgive", "look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"pos", "look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "", []string{"look"}, 3},
		{"net/ipv4/tcp_fin_timeout", "", []string{"look", "home"}, 3},
		{"net/ipv4/tcp_fin_timeout", "", []string{"look"}, math.MaxUint32 + 3},
		{"net/ipv4/tcp_fin_timeout", "64", []string{"look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"set", "look"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"set", "set1"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"set1", "no"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"set_no"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"set_no", "forgive"}, 0},
		{"net/ipv4/tcp_fin_timeout", "64\n", []string{"bad"}, 0},
		{"net/ipv4/tcp_fin_timeout", "a long text that is no number ", []string{"look", "set"}, 0},
		{"net/ipv4/tcp_rmem", "", []string{"look"}, 0},
		{"net/ipv4/tcp_congestion_control", "", []string{"look"}, 0},
		{"net/ipv4/route/flush", "1", []string{"look"}, 0}, // cannot be read
	} {
		what := fmt.Sprintf("%s %q at %d %v", c.name, c.write, c.pos, c.chain)
		path := "/proc/sys/" + c.name
		before, _ := os.ReadFile(path)
		for _, name := range c.chain {
			p.attach(0, name, at, hook.CgroupAllowMulti)
		}
		s := skep.CgroupSysctl{Name: c.name, Current: before, Write: c.write != "", New: []byte(c.write), Pos: c.pos}
		err := p.leaf().Sysctl(&s)
		mode := unix.O_RDONLY
		if s.Write {
			mode = unix.O_WRONLY
		}
		fd, oerr := unix.Open(path, mode|unix.O_CLOEXEC, 0)
		if oerr != nil {
			t.Fatal(oerr)
		}
		unix.Seek(fd, c.pos, 0)
		buf := []byte(c.write)
		var n int
		var kerr error
		if s.Write {
			n, kerr = unix.Write(fd, buf)
		} else {
			buf = make([]byte, 64)
			n, kerr = unix.Read(fd, buf)
		}
		pos, _ := unix.Seek(fd, 0, 1)
		unix.Close(fd)
		for _, name := range c.chain {
			p.detach(0, name, at)
		}
		after, _ := os.ReadFile(path)
		// What the setting itself does of what programs let through.
		var direct error
		got := after
		if s.Write {
			os.WriteFile(path, before, 0)
			if err == nil {
				fd, _ := unix.Open(path, mode|unix.O_CLOEXEC, 0)
				_, direct = unix.Write(fd, s.New)
				unix.Close(fd)
				got, _ = os.ReadFile(path)
				os.WriteFile(path, before, 0)
			} else {
				got = before
			}
		}
		if err != nil {
			direct = err
		}
		if number(direct) != knumber(kerr) && knumber(direct) != knumber(kerr) || !bytes.Equal(got, after) {
			t.Errorf("%s: %v %q, kernel says %v %q", what, direct, got, kerr, after)
		}
		if kerr == nil {
			if s.Pos == 0 { // where not, there is nothing to read
				s.Pos = int64(n)
			}
			if s.Write && n != len(s.New) {
				t.Errorf("%s: %d bytes are written, in the kernel %d", what, len(s.New), n)
			} else if !s.Write && s.Pos != pos {
				t.Errorf("%s: the position becomes %d, in the kernel %d", what, s.Pos, pos)
			}
		}
		p.sameSeen(what)
	}
}

// option makes a call with an option; value is its buffer, of which as many bytes come back.
func option(call uintptr, fd int, level, name int32, value []byte, n *int32) (int, error) {
	var at unsafe.Pointer
	if len(value) > 0 {
		at = unsafe.Pointer(&value[0])
	}
	arg := uintptr(unsafe.Pointer(n))
	if call == unix.SYS_SETSOCKOPT {
		r, _, e := unix.Syscall6(call, uintptr(fd), uintptr(level), uintptr(name), uintptr(at), uintptr(*n), 0)
		return int(r), errnoOf(e)
	}
	r, _, e := unix.Syscall6(call, uintptr(fd), uintptr(level), uintptr(name), uintptr(at), arg, 0)
	return int(r), errnoOf(e)
}

func errnoOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// TestCgroupSetOptionAgainstKernel sets options past programs, and then, what ours let
// through, on another socket of the kernel's: both have the same.
func TestCgroupSetOptionAgainstKernel(t *testing.T) {
	const at = skep.AttachCGroupSetsockopt
	fields := []field{{24, 4}, {28, 4}, {32, 4}}
	prog := func(name, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSockopt, Attach: at, Text: peeking(0, fields, `
			r2 = *(u64 *)(r6 + 8)
			r3 = *(u64 *)(r6 + 16)
			r4 = r3
			r4 -= r2
			*(u32 *)(r9 + 40) = r4
			call get_retval
			*(u32 *)(r9 + 44) = r0
			r1 = *(u64 *)(r6 + 0)
			r1 = *(u32 *)(r1 + 8)
			*(u32 *)(r9 + 48) = r1
			r2 = *(u64 *)(r6 + 8)
			r3 = *(u64 *)(r6 + 16)
			r4 = r2
			r4 += 16
			if r4 > r3 goto more
			r5 = *(u64 *)(r2 + 0)
			*(u64 *)(r9 + 64) = r5
			r5 = *(u64 *)(r2 + 8)
			*(u64 *)(r9 + 72) = r5
			`+more+"\nmore:\n", r0)}
	}
	length := func(n string) string { return "r1 = " + n + "\n*(u32 *)(r6 + 32) = r1\n" }
	other := "r1 = 1\n*(u32 *)(r6 + 24) = r1\nr1 = 36\n*(u32 *)(r6 + 28) = r1\n" // SO_MARK
	value := "*(u32 *)(r2 + 0) = 3\n"
	p := cgroupPair(t, 1, prog("look", "", "1"), prog("no", "", "0"), prog("done", length("-1"), "1"), prog("minus2", length("-2"), "1"),
		prog("big", length("10000"), "1"), prog("edge", length("4096"), "1"), prog("past", length("4097"), "1"), prog("l16", length("16"), "1"), prog("l17", length("17"), "1"),
		prog("zero", value+length("0"), "1"), prog("value", value, "1"), prog("short", length("3"), "1"),
		prog("mark", other+value+length("4"), "1"), prog("acces", "r1 = -13\ncall set_retval\n", "0"),
		prog("forgive", "r1 = 0\ncall set_retval\n", "1"), prog("plus", "r1 = 7\ncall set_retval\n", "1"))
	chains := [][]string{{"look"}, {"no", "look"}, {"acces", "look"}, {"no", "forgive"}, {"done"}, {"done", "look"}, {"done", "no"}, {"done", "value"}, {"minus2"}, {"big"}, {"edge"}, {"past"},
		{"l16"}, {"l17"}, {"zero"}, {"zero", "look"}, {"value"}, {"value", "look"}, {"short"}, {"mark"}, {"mark", "look"}, {"mark", "zero"}, {"big", "mark"}}
	for _, n := range []int{0, 2, 4, 16, 17, 64, 65, 4096, 4097, 9000} {
		for _, chain := range chains {
			what := fmt.Sprint(n, " bytes ", chain)
			for _, name := range chain {
				p.attach(0, name, at, hook.CgroupAllowMulti)
			}
			fd, s, _ := p.sockets("tcp4")
			data := make([]byte, n)
			if n > 1 {
				data[0] = 2
			}
			size := int32(n)
			_, kerr := option(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PRIORITY, data, &size)
			o := skep.CgroupSockopt{Level: unix.SOL_SOCKET, Name: unix.SO_PRIORITY, Value: slices.Clone(data)}
			err := s.SetOption(&o)
			p.sameSeen(what)
			for _, name := range chain {
				p.detach(0, name, at)
			}
			direct, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil && !o.Handled {
				size := int32(len(o.Value))
				_, err = option(unix.SYS_SETSOCKOPT, direct, o.Level, o.Name, o.Value, &size)
			}
			if number(err) != knumber(kerr) && knumber(err) != knumber(kerr) {
				t.Errorf("%s: %v, kernel says %v", what, err, kerr)
			}
			for _, opt := range []int{unix.SO_PRIORITY, unix.SO_MARK} {
				got, _ := unix.GetsockoptInt(direct, unix.SOL_SOCKET, opt)
				want, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
				if got != want {
					t.Errorf("%s: option %d is set to %d, in the kernel to %d", what, opt, got, want)
				}
			}
			unix.Close(fd)
			unix.Close(direct)
			s.Close()
		}
	}
}

// TestCgroupGetOptionAgainstKernel reads options past programs.
func TestCgroupGetOptionAgainstKernel(t *testing.T) {
	const at = skep.AttachCGroupGetsockopt
	fields := []field{{24, 4}, {28, 4}, {32, 4}, {36, 4}}
	prog := func(name, more, r0 string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSockopt, Attach: at, Text: peeking(0, fields, `
			r2 = *(u64 *)(r6 + 8)
			r3 = *(u64 *)(r6 + 16)
			r4 = r3
			r4 -= r2
			*(u32 *)(r9 + 40) = r4
			call get_retval
			*(u32 *)(r9 + 44) = r0
			r2 = *(u64 *)(r6 + 8)
			r3 = *(u64 *)(r6 + 16)
			r4 = r2
			r4 += 4
			if r4 > r3 goto more
			r5 = *(u32 *)(r2 + 0)
			*(u32 *)(r9 + 64) = r5
			`+more+"\nmore:\n", r0)}
	}
	length := func(n string) string { return "r1 = " + n + "\n*(u32 *)(r6 + 32) = r1\n" }
	retval := func(n string) string { return "r1 = " + n + "\n*(u32 *)(r6 + 36) = r1\n" }
	value := "*(u32 *)(r2 + 0) = 3\n"
	// A program may write a retval and ask for it, or the other way round.
	both := retval("-13") + "call get_retval\n*(u32 *)(r9 + 80) = r0\nr1 = -16\ncall set_retval\nr1 = *(u32 *)(r6 + 36)\n*(u32 *)(r9 + 84) = r1\n"
	p := cgroupPair(t, 1, prog("look", "", "1"), prog("no", "", "0"), prog("minus", length("-1"), "1"), prog("big", length("10000"), "1"),
		prog("edge", length("4096"), "1"), prog("past", length("4097"), "1"), prog("zero", value+length("0"), "1"), prog("value", value+length("4"), "1"),
		prog("short", length("2"), "1"), prog("forgive", value+length("4")+retval("0"), "1"), prog("forgive0", "r1 = 0\ncall set_retval\n", "1"),
		prog("acces", retval("-13"), "1"), prog("plus", retval("5"), "1"), prog("both", both, "1"), prog("eight", length("8"), "1"))
	chains := [][]string{{"look"}, {"no"}, {"no", "look"}, {"minus"}, {"big"}, {"edge"}, {"past"}, {"zero"}, {"value"}, {"value", "look"}, {"short"}, {"eight"}, {"forgive"},
		{"forgive", "look"}, {"forgive0"}, {"forgive0", "look"}, {"acces"}, {"acces", "look"}, {"acces", "no"}, {"plus"}, {"plus", "no"}, {"both"}, {"both", "look"}, {"no", "forgive"}, {"no", "forgive0"}}
	for _, name := range []int32{unix.SO_PRIORITY, unix.SO_LINGER, 9999} {
		for _, room := range []int32{-1, 0, 1, 4, 8, 64, 65, 4096, 4097, 9000} {
			for _, chain := range chains {
				what := fmt.Sprint("option ", name, " into ", room, " bytes ", chain)
				fd, s, _ := p.sockets("tcp4")
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 2)
				buf, plain := bytes.Repeat([]byte{0xa5}, 10000), bytes.Repeat([]byte{0xa5}, 10000)
				size := room
				_, answered := option(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, name, plain, &size)
				o := skep.CgroupSockopt{Level: unix.SOL_SOCKET, Name: name}
				if answered == nil {
					o.Value = plain[:size]
				} else {
					answered = skep.Errno(answered.(unix.Errno))
				}
				for _, name := range chain {
					p.attach(0, name, at, hook.CgroupAllowMulti)
				}
				size = room
				r, kerr := option(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, name, buf, &size)
				err := s.GetOption(&o, int(room), answered)
				p.sameSeen(what)
				for _, name := range chain {
					p.detach(0, name, at)
				}
				switch {
				case r > 0:
					if err == nil || number(err) != -1 {
						t.Errorf("%s: %v, kernel says %d", what, err, r)
					}
				case number(err) != knumber(kerr):
					t.Errorf("%s: %v, kernel says %v", what, err, kerr)
				case err == nil && (int(size) != len(o.Value) && len(o.Value) != 0 || !bytes.Equal(o.Value, buf[:len(o.Value)])):
					t.Errorf("%s: %d bytes %x, kernel says %d %x", what, len(o.Value), o.Value, size, buf[:min(size, 16)])
				}
				unix.Close(fd)
				s.Close()
			}
		}
	}
}

// TestCgroupStorageAgainstKernel counts in storages: programs of a group have one for all, or one for each
// attach type, and they stay when programs go.
func TestCgroupStorageAgainstKernel(t *testing.T) {
	maps := append(slices.Clone(cgroupMaps),
		&image.Map{Name: "each", Type: catalog.MapCGroupStorage, KeySize: 16, ValueSize: 8},
		&image.Map{Name: "one", Type: catalog.MapCGroupStorage, KeySize: 8, ValueSize: 8},
		&image.Map{Name: "cpus", Type: catalog.MapPerCPUCGroupStorage, KeySize: 16, ValueSize: 8})
	count := func(m, by, word int) string {
		return fmt.Sprintf("r1 = map_idx[%d] ll\nr2 = 0\ncall get_local_storage\nr1 = *(u64 *)(r0 + 0)\nr1 += %d\n*(u64 *)(r0 + 0) = r1\n*(u32 *)(r9 + %d) = r1\n", m, by, 4*word)
	}
	prog := func(name string, attach skep.AttachType, m, by int) testprog.Prog {
		// A program has one storage of each kind.
		return testprog.Prog{Name: name, Type: catalog.ProgCGroupSock, Attach: attach, Text: peeking(0, nil, count(m, by, by)+count(3, by, 16+by), "1")}
	}
	create, release := skep.AttachCGroupInetSockCreate, skep.AttachCGroupInetSockRelease
	p := cgroupPairWith(t, 2, maps, prog("a", create, 1, 1), prog("b", create, 1, 2), prog("c", release, 1, 3),
		prog("d", create, 2, 4), prog("e", release, 2, 5))
	use := func(what string) {
		t.Helper()
		fd, s, ok := p.sockets("udp4")
		if !ok {
			t.Fatal("no socket")
		}
		unix.Close(fd)
		s.Close()
		zero, seen := make([]byte, 4), make([]byte, seenSize)
		we := slices.Clone(seen)
		if err := p.kmaps[0].Lookup(zero, seen, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.coll.Maps["seen"].Lookup(uint32(0), &we); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(seen[:64], we[:64]) {
			t.Errorf("%s: % x, the kernel's programs counted % x", what, we[:64], seen[:64])
		}
	}
	for step, do := range []func(){
		func() { p.attach(0, "a", create, hook.CgroupAllowMulti) },
		func() { p.attach(1, "b", create, hook.CgroupAllowMulti) },
		func() { p.attach(1, "a", create, hook.CgroupAllowMulti) },
		func() { p.attach(1, "c", release, hook.CgroupAllowMulti) },
		func() { p.attach(1, "d", create, hook.CgroupAllowMulti) },
		func() { p.attach(1, "e", release, hook.CgroupAllowMulti) },
		func() { p.attach(0, "e", release, hook.CgroupAllowMulti) },
		func() { p.detach(1, "a", create) },
		func() { p.detach(0, "a", create) },
		func() { p.attach(0, "a", create, hook.CgroupAllowMulti) },
	} {
		do()
		for range 3 {
			use(fmt.Sprint("step ", step))
		}
	}
	// The sums of all CPUs, as processes see them.
	for i, dir := range p.dirs {
		var st unix.Stat_t
		if err := unix.Fstat(dir, &st); err != nil {
			t.Fatal(err)
		}
		for _, m := range []struct {
			index, key int
			name       string
			attach     skep.AttachType
		}{{1, 16, "each", create}, {1, 16, "each", release}, {2, 8, "one", 0}, {3, 16, "cpus", create}, {3, 16, "cpus", release}} {
			key := func(group uint64) []byte {
				k := binary.NativeEndian.AppendUint64(nil, group)
				return binary.NativeEndian.AppendUint64(k, uint64(m.attach))[:m.key] // with padding
			}
			sum := func(b []byte) (n uint64) {
				for ; len(b) > 0; b = b[8:] {
					n += binary.NativeEndian.Uint64(b)
				}
				return n
			}
			n, err := p.kmaps[m.index].ValueLen()
			if err != nil {
				t.Fatal(err)
			}
			kernel := make([]byte, n)
			kerr := p.kmaps[m.index].Lookup(key(st.Ino), kernel, 0)
			var ours []byte
			if m.name == "cpus" {
				var each []uint64
				err = p.coll.Maps[m.name].Lookup(key(p.ours[i].ID), &each)
				for _, v := range each {
					ours = binary.NativeEndian.AppendUint64(ours, v)
				}
			} else {
				err = p.coll.Maps[m.name].Lookup(key(p.ours[i].ID), &ours)
			}
			if (err == nil) != (kerr == nil) || err == nil && sum(ours) != sum(kernel) {
				t.Errorf("group %d, map %s, %s: %d %v, kernel says %d %v", i, m.name, m.attach, sum(ours), err, sum(kernel), kerr)
			}
		}
	}
}

// TestCgroupRemoveAgainstKernel removes groups: not while others are below, and then nothing is left to attach to.
func TestCgroupRemoveAgainstKernel(t *testing.T) {
	const at = skep.AttachCGroupInetSockCreate
	maps := append(slices.Clone(cgroupMaps), &image.Map{Name: "one", Type: catalog.MapCGroupStorage, KeySize: 8, ValueSize: 8})
	p := cgroupPairWith(t, 1, maps, testprog.Prog{Name: "a", Type: catalog.ProgCGroupSock, Attach: at,
		Text: "r1 = map_idx[1] ll\nr2 = 0\ncall get_local_storage\nr0 = 1\nexit"})
	dir, err := os.Readlink(fmt.Sprint("/proc/self/fd/", p.dirs[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir+"/below", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p.dirs = append(p.dirs, fd)
	p.ours = append(p.ours, hook.NewCgroup(p.mach, p.ours[0]))
	same := func(what string, err, kerr error) {
		t.Helper()
		if number(err) != knumber(kerr) {
			t.Errorf("%s: %v, kernel says %v", what, err, kerr)
		}
	}
	values := func() (n int) {
		key := binary.NativeEndian.AppendUint64(nil, p.ours[1].ID)
		var b []byte
		if p.coll.Maps["one"].Lookup(key, &b) == nil {
			n++
		}
		return n
	}
	p.attach(1, "a", at, 0)
	if values() != 1 {
		t.Error("there is no storage")
	}
	same("removing the upper", p.ours[0].Remove(), unix.Rmdir(dir))
	same("removing the lower", p.ours[1].Remove(), unix.Rmdir(dir+"/below"))
	if p.attach(1, "a", at, 0) || values() != 0 {
		t.Error("a group lives on")
	}
	p.attach(0, "a", at, 0)
}
