package skep_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// The tests below start their own binary once more, as a second process with a socket in descriptor 3.
const peerEnv = "SKEP_TEST_PEER"

func init() {
	if role := os.Getenv(peerEnv); role != "" {
		if err := peer(role); err != nil {
			fmt.Println("peer:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// marks counts in a hash map, by the packet's mark, in an array, and sends the mark to a ring buffer if cb[0] says so.
const marks = `
	r7 = r1
	r1 = *(u32 *)(r7 + 8)
	*(u64 *)(r10 - 8) = r1
	r1 = 0
	*(u64 *)(r10 - 16) = r1
	*(u32 *)(r10 - 20) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 != 0 goto found
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -16
	r4 = 1
	call bpf_map_update_elem
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 == 0 goto full
found:
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
full:
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -20
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
	r1 = *(u32 *)(r7 + 48)
	if r1 == 0 goto out
	r1 = map_idx[2] ll
	r2 = r10
	r2 += -8
	r3 = 8
	r4 = 0
	call bpf_ringbuf_output
	exit
out:
	r0 = 0
	exit
`

// churn replaces, and at every third mark deletes, an element of the hash map.
const churn = `
	r1 = *(u32 *)(r1 + 8)
	*(u64 *)(r10 - 8) = r1
	*(u64 *)(r10 - 16) = r1
	*(u64 *)(r10 - 24) = r1
	r1 %= 3
	if r1 == 0 goto gone
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -24
	r4 = 0
	call bpf_map_update_elem
	exit
gone:
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_delete_elem
	exit
`

// percpu counts in an array and a hash map per CPU, without atomic instructions, and pushes the mark to a queue.
const percpu = `
	r7 = *(u32 *)(r1 + 8)
	*(u64 *)(r10 - 8) = r7
	r1 = 0
	*(u64 *)(r10 - 16) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -16
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = *(u64 *)(r0 + 0)
	r1 += 1
	*(u64 *)(r0 + 0) = r1
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -16
	r4 = 1
	call bpf_map_update_elem
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = *(u64 *)(r0 + 0)
	r1 += 1
	*(u64 *)(r0 + 0) = r1
	r1 = map_idx[2] ll
	r2 = r10
	r2 += -8
	r3 = 2
	call bpf_map_push_elem
out:
	r0 = 0
	exit
`

// locked adds 1 to each of two words under the lock in front of them, in a hash map's value; what is unequal it counts in the third.
const locked = `
	r1 = 0
	*(u32 *)(r10 - 4) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -4
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r6 = r0
	r1 = r0
	call bpf_spin_lock
	r7 = *(u32 *)(r6 + 4)
	r8 = *(u32 *)(r6 + 8)
	if r7 == r8 goto same
	r1 = *(u32 *)(r6 + 12)
	r1 += 1
	*(u32 *)(r6 + 12) = r1
	r8 = r7
same:
	r7 += 1
	*(u32 *)(r6 + 4) = r7
	r8 += 1
	*(u32 *)(r6 + 8) = r8
	r1 = r6
	call bpf_spin_unlock
out:
	r0 = 0
	exit
`

// hold reserves a record of the ring buffer, and submits it, marked with the packet's mark.
const hold = `
	r6 = *(u32 *)(r1 + 8)
	r1 = map_idx[0] ll
	r2 = 16
	r3 = 0
	call bpf_ringbuf_reserve
	if r0 == 0 goto full
	*(u64 *)(r0 + 0) = r6
	*(u64 *)(r0 + 8) = r6
	r1 = r0
	r2 = 0
	call bpf_ringbuf_submit
	r0 = 0
	exit
full:
	r0 = 1
	exit
`

func sharedImage(t testing.TB) *image.Image {
	return testprog.Image(t, []*image.Map{
		{Name: "by_mark", Type: catalog.MapHash, KeySize: 8, ValueSize: 8, MaxEntries: 64},
		{Name: "total", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1},
		{Name: "events", Type: catalog.MapRingBuf, MaxEntries: 4096},
	}, testprog.Prog{Name: "marks", Type: catalog.ProgSchedCls, Text: marks})
}

func engineName() string {
	if engine.Checked {
		return "checked"
	}
	return "jit"
}

// nativeCode reports whether this platform has any.
func nativeCode() bool {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, JIT: skep.JITOn})
	if err == nil {
		m.Close()
	}
	return err == nil
}

// peerMachine makes the second process's machine, of an engine by its name.
func peerMachine(name string) (*skep.Machine, error) {
	o := skep.MachineOptions{CPUs: 2}
	switch name {
	case "checked":
		o.Checked = true
	case "interpreter":
		o.JIT = skep.JITOff
	case "jit":
		if o.JIT = skep.JITOn; !nativeCode() {
			o.JIT = skep.JITAuto
		}
	}
	return skep.NewMachine(&o)
}

// peer is the second process: "ROLE ENGINE COUNT".
func peer(what string) error {
	var role, eng string
	var count uint32
	if _, err := fmt.Sscan(what, &role, &eng, &count); err != nil {
		return err
	}
	m, err := peerMachine(eng)
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := net.FileConn(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	conn := c.(*net.UnixConn)
	defer conn.Close()
	coll, err := m.Receive(conn)
	if err != nil {
		return fmt.Errorf("%+v", err)
	}
	defer coll.Close()
	fmt.Println("ready")
	switch role {
	case "run":
		for _, p := range coll.Programs {
			return runMarks(p, count)
		}
	case "forever":
		for i := uint32(0); ; i++ {
			for _, p := range coll.Programs {
				if err := runMark(p, i%count, 1); err != nil {
					return err
				}
			}
		}
	case "back": // sends on what it got, when asked
		io.ReadFull(conn, make([]byte, 1))
		return coll.Send(conn)
	}
	return fmt.Errorf("no role %q", role)
}

func runMark(p *skep.Program, mark, ring uint32) error {
	_, err := p.Run(&skep.RunOptions{Data: make([]byte, 64), Context: &skep.SKBuff{Mark: mark, CB: [5]uint32{ring}}})
	return err
}

// runMarks runs a program with the marks 0, 1, … over and over, on two threads.
func runMarks(p *skep.Program, count uint32) error {
	done := make(chan error)
	half := func() {
		for i := range count / 2 {
			if err := runMark(p, i%16, 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}
	go half()
	go half()
	return errors.Join(<-done, <-done)
}

// second is the other process.
type second struct {
	t    testing.TB
	cmd  *exec.Cmd
	conn *net.UnixConn
	out  *bufio.Reader
}

func startPeer(t testing.TB, role, eng string, count uint32) *second {
	t.Helper()
	ours, theirs := socketPair(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &second{t: t, conn: ours, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", peerEnv, role, eng, count))
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles, p.cmd.Stderr = []*os.File{f}, os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	f.Close()
	t.Cleanup(p.kill)
	return p
}

func (p *second) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.conn.Close()
}

// ready waits until the peer has received.
func (p *second) ready() {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); line != "ready\n" {
		p.t.Fatalf("the peer says %q, %v", line, err)
	}
}

// end waits for the peer's good end.
func (p *second) end() {
	p.t.Helper()
	rest, _ := io.ReadAll(p.out)
	if err := p.cmd.Wait(); err != nil || len(rest) != 0 {
		p.t.Fatalf("the peer ended by %v: %s", err, rest)
	}
}

func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
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

// shared loads an image with memory for several processes.
func shared(t testing.TB, m *skep.Machine, img *image.Image) *skep.Collection {
	t.Helper()
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Share: true})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	return coll
}
