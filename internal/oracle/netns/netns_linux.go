// Package netns gives tests a network of their own on the live kernel. What it
// cannot have is a missing oracle (package oracle).
package netns

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

// In runs f in a network namespace of its own, on a thread that ends with it.
// Goroutines of f, and with them its subtests, are outside.
func In(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		Enter(t)
		f()
	}()
	<-done
}

// Enter puts the calling goroutine's thread into a network namespace of its own.
// It never serves another goroutine, and ends with this one.
func Enter(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked
	oracle.Need(t, "a network namespace", unix.Unshare(unix.CLONE_NEWNET))
}

// BPFFS gives the thread, in a namespace of its own, an empty BPF file system at /sys/fs/bpf.
func BPFFS(t testing.TB) {
	t.Helper()
	oracle.Need(t, "a namespace of mounts", unix.Unshare(unix.CLONE_NEWNS))
	oracle.Need(t, "a mount", unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	oracle.Need(t, "a BPF file system", unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, ""))
}

// IP runs lines of ip(8), such as "link set x up".
func IP(t testing.TB, lines ...string) {
	t.Helper()
	ip := oracle.Tool(t, "ip")
	for _, line := range lines {
		if out, err := exec.Command(ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			oracle.Need(t, "ip", fmt.Errorf("%s: %w: %s", line, err, out))
		}
	}
}

// Pair makes a veth pair with so many queues, up, on which nothing passes but
// what a test sends.
func Pair(t testing.TB, a, b string, queues int) {
	t.Helper()
	of := fmt.Sprintf("numrxqueues %d numtxqueues %[1]d", queues)
	IP(t, "link add "+a+" "+of+" type veth peer name "+b+" "+of,
		"link set "+a+" addrgenmode none", "link set "+b+" addrgenmode none",
		"link set "+a+" up", "link set "+b+" up")
}

// TAP makes a TAP device that is up: frames written to the descriptor come in
// there, what it sends can be read. It is closed with the test.
func TAP(t testing.TB, name string, flags int) (fd, index int) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
	oracle.Need(t, "/dev/net/tun", err)
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	oracle.Need(t, "a tap device", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	return fd, Up(t, name)
}

// Up sets a device up and returns its index.
func Up(t testing.TB, name string) (index int) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP)
	oracle.Need(t, "device "+name, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr))
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, ifr); err != nil {
		t.Fatal(err)
	}
	return int(ifr.Uint32())
}
