package device_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// seen is struct seen of testdata/meta.c.
type seen struct {
	Times                                   uint32
	Mark, Priority, TCIndex, Queue, ClassID uint32
	CB                                      [5]uint32
	Type, VLAN                              uint32
	Len, WireLen, Stamped                   uint32
	Tunnel                                  uint32
}

// TestMetadataAsTheKernel follows what a packet carries beside its bytes from an
// ingress hook out of another device, over a cable, and into a third device, and
// compares what each program on the way sees with the kernel's.
func TestMetadataAsTheKernel(t *testing.T) {
	want := kernelMeta(t)

	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("testdata/meta.o")
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	n := device.New(m, nil)
	outside, port := device.NewPair()
	src, err := n.Add("src", port)
	if err != nil {
		t.Fatal(err)
	}
	a, b, err := n.AddPair("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := n.AddPair("c", "d")
	if err != nil {
		t.Fatal(err)
	}
	for i, to := range []uint32{a.Index(), 0, c.Index()} {
		if err := coll.Maps["next"].Put(uint32(i), to); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range []interface {
		AttachTCX(*skep.Program, int) error
	}{src.Ingress(), a.Egress(), b.Ingress(), c.Ingress()} {
		if err := h.AttachTCX(coll.Programs[[]string{"in", "out", "far", "end"}[i]], 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := outside.Transmit([][]byte{frame(1)}); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	for c.Stats().RxDropped == 0 {
		runtime.Gosched()
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	var got [4]seen
	for i := range got {
		if err := coll.Maps["seen"].Lookup(uint32(i), &got[i]); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-kernel +skep\n%s", d)
	}
}

// kernelMeta does the same in a network namespace.
func kernelMeta(t *testing.T) (got [4]seen) {
	netns.In(t, func() {
		index := map[string]int{}
		for _, pair := range [][2]string{{"x", "src"}, {"a", "b"}, {"c", "d"}} {
			netns.IP(t, "link add name "+pair[0]+" type veth peer name "+pair[1])
			for _, name := range pair {
				index[name] = netns.Up(t, name)
			}
		}
		spec, err := ebpf.LoadCollectionSpec("testdata/meta.o")
		if err != nil {
			t.Error(err)
			return
		}
		coll, err := ebpf.NewCollection(spec)
		oracle.Need(t, "bpf(2)", err)
		defer coll.Close()
		for i, name := range []string{"a", "", "c"} {
			if err := coll.Maps["next"].Put(uint32(i), uint32(index[name])); err != nil {
				t.Error(err)
			}
		}
		for _, at := range []struct {
			dev, prog string
			hook      ebpf.AttachType
		}{{"src", "in", ebpf.AttachTCXIngress}, {"a", "out", ebpf.AttachTCXEgress}, {"b", "far", ebpf.AttachTCXIngress}, {"c", "end", ebpf.AttachTCXIngress}} {
			l, err := link.AttachTCX(link.TCXOptions{Interface: index[at.dev], Program: coll.Programs[at.prog], Attach: at.hook})
			oracle.Need(t, "tcx", err)
			defer l.Close()
		}
		sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		oracle.Need(t, "a packet socket", err)
		defer unix.Close(sock)
		if err := unix.Sendto(sock, frame(1), 0, &unix.SockaddrLinklayer{Ifindex: index["x"]}); err != nil {
			t.Error(err)
			return
		}
		for end := time.Now().Add(10 * time.Second); ; { // softirqs take a moment
			if err := coll.Maps["seen"].Lookup(uint32(3), &got[3]); err != nil || got[3].Times > 0 {
				break
			}
			if time.Now().After(end) {
				t.Error("the packet does not arrive in the kernel")
				break
			}
			runtime.Gosched()
		}
		for i := range got {
			if err := coll.Maps["seen"].Lookup(uint32(i), &got[i]); err != nil {
				t.Error(err)
			}
		}
	})
	return got
}
