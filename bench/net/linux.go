package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/bench/measure"
)

// linuxWay is veth pairs in a network namespace, which a thread of their own is in.
//
//	gen ═ first [program] ─redirect─▶ a ═ b [drop]
type linuxWay struct {
	work chan func()
	err  error

	sock    int
	msgs    []mmsghdr
	coll    *ebpf.Collection
	links   []link.Link
	counter string // a file with how many packets have ended
	sent    uint64
	base    uint64
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func newLinux(mode hookMode, drop bool) (way, error) {
	w := &linuxWay{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespaces
		for f := range w.work {
			f()
		}
	}()
	w.do(func() error { return w.setUp(mode, drop) })
	return w, w.err
}

func (w *linuxWay) do(f func() error) {
	done := make(chan struct{})
	w.work <- func() {
		defer close(done)
		w.err = f()
	}
	<-done
}

func (w *linuxWay) setUp(mode hookMode, drop bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	for _, line := range []string{
		"link add name gen type veth peer name first", "link add name a type veth peer name b",
		"link set dev gen up", "link set dev first up", "link set dev a up", "link set dev b up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	for _, dev := range []string{"gen", "first", "a", "b"} { // no neighbour discovery in between
		os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/disable_ipv6", []byte("1"), 0)
	}
	index := func(name string) int {
		text, _ := os.ReadFile("/sys/class/net/" + name + "/ifindex")
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	coll, err := ebpf.NewCollection(programs(int32(index("a"))))
	if err != nil {
		return err
	}
	w.coll = coll
	name := map[bool]string{false: "redirect", true: "drop"}[drop]
	xdp := func(dev, prog string, flags link.XDPAttachFlags) error {
		l, err := link.AttachXDP(link.XDPOptions{Program: coll.Programs[prog], Interface: index(dev), Flags: flags})
		w.links = append(w.links, l)
		return err
	}
	tcx := func(dev, prog string) error {
		l, err := link.AttachTCX(link.TCXOptions{Program: coll.Programs[prog], Interface: index(dev), Attach: ebpf.AttachTCXIngress})
		w.links = append(w.links, l)
		return err
	}
	switch mode {
	case tc:
		err = tcx("first", "tc_"+name)
	case xdpGeneric:
		err = xdp("first", "xdp_"+name, link.XDPGenericMode)
	default:
		err = xdp("first", "xdp_"+name, link.XDPDriverMode)
	}
	if err == nil && mode == xdpNative {
		err = xdp("b", "xdp_drop", link.XDPDriverMode)
	} else if err == nil {
		err = tcx("b", "tc_drop")
	}
	if err != nil {
		return err
	}
	if w.sock, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	const packetQdiscBypass = 20
	if err := unix.SetsockoptInt(w.sock, unix.SOL_PACKET, packetQdiscBypass, 1); err != nil {
		return err
	}
	if err := unix.Bind(w.sock, &unix.SockaddrLinklayer{Ifindex: index("gen")}); err != nil {
		return err
	}
	f := frame()
	w.msgs = make([]mmsghdr, batch)
	for i := range w.msgs {
		w.msgs[i].hdr.Iov = &unix.Iovec{Base: &f[0], Len: uint64(len(f))}
		w.msgs[i].hdr.Iovlen = 1
	}
	w.counter = "/sys/class/net/gen/statistics/tx_packets"
	if !drop {
		w.counter = "/sys/class/net/a/statistics/tx_packets"
	}
	w.base, err = w.arrived()
	return err
}

// arrived is how many packets have left by the last device but one: the sender's
// counter counts those the other end took.
func (w *linuxWay) arrived() (uint64, error) {
	text, err := os.ReadFile(w.counter)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// softirq is what the kernel's own threads for softirqs have run, in ns: under
// load they take the packets over.
func softirq() (ns time.Duration) {
	for pid := 1; pid < 200; pid++ {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || !strings.HasPrefix(string(comm), "ksoftirqd/") {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			continue
		}
		n, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		ns += time.Duration(n)
	}
	return ns
}

func (w *linuxWay) send(n int) (took time.Duration, err error) {
	w.do(func() error {
		before := softirq()
		took, err = measure.Thread(func() error {
			for left := n; left > 0; {
				got, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.sock), uintptr(unsafe.Pointer(&w.msgs[0])), uintptr(min(left, batch)), 0, 0, 0)
				switch e {
				case 0:
					left -= int(got)
				case unix.ENOBUFS, unix.EAGAIN:
				default:
					return e
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		took += softirq() - before
		w.sent += uint64(n)
		now, err := w.arrived()
		if err != nil {
			return err
		}
		if lost := w.sent - (now - w.base); lost > w.sent/100 {
			return fmt.Errorf("%d of %d packets were lost on their way", lost, w.sent)
		}
		return nil
	})
	return took, w.err
}

func (w *linuxWay) close() {
	w.do(func() error {
		for _, l := range w.links {
			if l != nil {
				l.Close()
			}
		}
		if w.coll != nil {
			w.coll.Close()
		}
		return unix.Close(w.sock)
	})
	close(w.work)
}
