// Command xsk compares AF_XDP sockets on a virtual cable here with the kernel's in
// copy mode over veth: a packet sent by one socket, redirected to another at the far end by an XDP program, sent
// back from where it lies, and redirected to the first.
//
//	xsk [-rounds n] [-slice d] [-size bytes] [OBJECT]
//
// OBJECT is xsk_forward.o of the examples by default. The kernel's part needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/xsk"
)

func main() {
	rounds := flag.Int("rounds", 11, "interleaved rounds")
	slice := flag.Duration("slice", 100*time.Millisecond, "processor time of each measurement")
	size := flag.Int("size", 64, "of a packet in `bytes`")
	flag.Parse()
	object := "../examples/xsk_forward/xsk_forward.o"
	if flag.NArg() > 0 {
		object = flag.Arg(0)
	}
	if err := run(os.Stdout, object, *size, *rounds, *slice); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// batch is how many packets are on their way together.
const batch = 64

// rig is a cable with a socket at either end.
type rig struct {
	ends  [2]*xsk.Socket
	size  int
	out   [batch]xsk.Frame
	close func()
}

// turn sends n packets there and back.
func (r *rig) turn(n int) error {
	var in [batch]xsk.Frame
	for done := 0; done < n; {
		k := r.ends[0].Alloc(r.out[:min(batch, n-done)])
		for i := range r.out[:k] {
			f := &r.out[i]
			f.Data = f.Data[:r.size]
			// UDP over IPv4, which the program wants, to the other end's address.
			f.Data[12], f.Data[13], f.Data[14], f.Data[23] = 8, 0, 0x45, 17
		}
		if err := sendAll(r.ends[0], r.out[:k]); err != nil {
			return err
		}
		for back := 0; back < k; {
			m, err := r.ends[1].Receive(in[:])
			if err == nil {
				err = sendAll(r.ends[1], in[:m])
			}
			if err != nil {
				return err
			}
			back += m
		}
		for back := 0; back < k; {
			m, err := r.ends[0].Receive(in[:])
			if err != nil {
				return err
			}
			r.ends[0].Free(in[:m]...)
			back += m
		}
		done += k
	}
	return nil
}

func sendAll(s *xsk.Socket, frames []xsk.Frame) error {
	for len(frames) > 0 {
		n, err := s.Transmit(frames)
		if err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}

// ours makes a rig of skep.
func ours(object string, size int, flags xsk.Flags) (*rig, error) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2})
	if err != nil {
		return nil, err
	}
	network := device.New(m, nil)
	a, b, err := network.AddPair("a", "b")
	if err != nil {
		return nil, err
	}
	r := &rig{size: size}
	for i, dev := range []*device.Device{a, b} {
		coll, err := m.LoadCollectionFile(object) // whose map is the device's own
		if err != nil {
			return nil, err
		}
		if err := dev.SetXDP(coll.Programs["xsk_forward"], device.Native); err != nil {
			return nil, err
		}
		if r.ends[i], err = xsk.Open(dev, 0, &xsk.Options{Flags: flags}); err != nil {
			return nil, err
		}
		if err := coll.Maps["xsks"].Put(uint32(0), r.ends[i]); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- network.Run(ctx) }()
	r.close = func() { cancel(); <-ended }
	return r, nil
}

// kernels makes a rig of the kernel, in a network namespace of the thread's.
func kernels(object string, size int) (*rig, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	for _, args := range []string{
		"link add x numrxqueues 1 numtxqueues 1 type veth peer name y numrxqueues 1 numtxqueues 1",
		"link set x addrgenmode none", "link set y addrgenmode none", "link set x up", "link set y up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, err
	}
	r := &rig{size: size, close: func() {}}
	for i, name := range []string{"x", "y"} {
		iface, err := net.InterfaceByName(name)
		if err != nil {
			return nil, err
		}
		coll, err := ebpf.NewCollection(spec)
		if err != nil {
			return nil, err
		}
		if _, err := link.AttachXDP(link.XDPOptions{Program: coll.Programs["xsk_forward"], Interface: iface.Index, Flags: link.XDPDriverMode}); err != nil {
			return nil, err
		}
		if r.ends[i], err = xsk.OpenInterface(name, 0, &xsk.Options{Flags: xsk.Copy | xsk.UseNeedWakeup}); err != nil {
			return nil, err
		}
		if err := coll.Maps["xsks"].Put(uint32(0), r.ends[i]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func run(out io.Writer, object string, size, rounds int, slice time.Duration) error {
	if size < 60 || size > 1500 {
		return fmt.Errorf("packets of %d bytes: 60 to 1500", size)
	}
	var contenders []measure.Contender
	for _, flags := range []xsk.Flags{xsk.Copy, xsk.ZeroCopy} {
		r, err := ours(object, size, flags)
		if err != nil {
			return err
		}
		defer r.close()
		contenders = append(contenders, r.contender)
	}
	kernel, err := kernels(object, size)
	switch {
	case err == nil:
		contenders = append(contenders, kernel.contender)
	case errors.Is(err, os.ErrPermission):
		fmt.Fprintln(out, "Left out, for want of rights: the kernel.")
		contenders = append(contenders, nil)
	default:
		return err
	}
	ns, err := measure.Interleaved(contenders, rounds, slice)
	if err != nil {
		return err
	}
	table := measure.Table{Head: []string{fmt.Sprintf("%d bytes, there and back", size), "÷ Linux", "ns of CPU", "packets a second and CPU"}}
	for i, name := range []string{"skep, copy", "skep, zero copy", "Linux, veth, copy"} {
		if ns[i] == nil {
			continue
		}
		ratio := "–"
		if ns[2] != nil {
			ratio = fmt.Sprintf("%.2f", measure.Ratio(ns[i], ns[2]))
		}
		each := measure.Median(ns[i])
		table.Add(name, ratio, fmt.Sprintf("%.0f", each), fmt.Sprintf("%.0f", 1e9/each))
	}
	return table.Write(out)
}

// contender is what the process takes for it, the kernel's work in its name included.
func (r *rig) contender(n int) (time.Duration, error) {
	return measure.Process(func() error { return r.turn(n) })
}
