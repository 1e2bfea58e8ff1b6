package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/perf"

	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/oracle"
)

// Where Debian's xdp-tools has its objects.
const xdpTools = "/usr/lib/x86_64-linux-gnu/bpf/"

// xdpFilter is one of xdp-filter's programs, which drops by a port.
type xdpFilter struct {
	name  string
	port  uint16
	flags uint64 // which port, of which protocol
}

// xdpFilters drop what goes to TCP's port 80 and what comes from UDP's port 53.
var xdpFilters = []xdpFilter{{"xdpfilt_alw_tcp", 80, 1<<1 | 1<<2}, {"xdpfilt_alw_udp", 53, 1<<0 | 1<<3}}

// load loads it, after its program was changed, with the port set.
func (f *xdpFilter) load(change func(*ebpf.ProgramSpec)) (*ebpf.Collection, error) {
	spec, err := ebpf.LoadCollectionSpec(xdpTools + f.name + ".o")
	if err != nil {
		return nil, err
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	change(spec.Programs[f.name])
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	all := make([]uint64, ebpf.MustPossibleCPU())
	for i := range all {
		all[i] = f.flags
	}
	return coll, coll.Maps["filter_ports"].Put(uint32(f.port>>8|f.port<<8), all)
}

// kernelDrops counts what the filters drop on the live kernel, one after the other.
func kernelDrops(path string) (drops [2]int, err error) {
	var progs [2]*ebpf.Program
	for i, f := range xdpFilters {
		coll, err := f.load(func(*ebpf.ProgramSpec) {})
		if err != nil {
			return drops, err
		}
		defer coll.Close()
		progs[i] = coll.Programs[f.name]
	}
	r, err := capture.Open(path)
	if err != nil {
		return drops, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err != nil {
			return drops, nil
		}
		for i, p := range progs {
			verdict, err := p.Run(&ebpf.RunOptions{Data: rec.Data})
			if err != nil {
				return drops, err
			}
			if verdict == 1 {
				drops[i]++
				break
			}
		}
	}
}

// xdpToolsClient does with the objects what libxdp, xdp-filter and xdpdump do with them: the dispatcher on a
// device, two filters in the place of its functions, and xdpdump's programs on the first of these. Then
// it brings the device up and takes the samples.
func xdpToolsClient() error {
	spec, err := ebpf.LoadCollectionSpec(xdpTools + "xdp-dispatcher.o")
	if err != nil {
		return err
	}
	// struct xdp_dispatcher_config: 4 bytes, of which the third counts programs, then words for each of
	// ten: the actions after which the next one runs, priorities, flags.
	conf := make([]byte, 124)
	conf[2] = 2
	for i := range 10 {
		binary.NativeEndian.PutUint32(conf[4+4*i:], 1<<2) // XDP_PASS
	}
	spec.Maps[".rodata"].Contents[0].Value = conf
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	defer coll.Close()
	dispatcher := coll.Programs["xdp_dispatcher"]

	var filters []*ebpf.Program
	for i, f := range xdpFilters {
		filter, err := f.load(func(p *ebpf.ProgramSpec) {
			p.Type, p.AttachType, p.AttachTarget, p.AttachTo = ebpf.Extension, ebpf.AttachNone, dispatcher, fmt.Sprintf("prog%d", i)
		})
		if err != nil {
			return err
		}
		defer filter.Close()
		l, err := link.AttachFreplace(nil, "", filter.Programs[f.name])
		if err != nil {
			return err
		}
		defer l.Close()
		filters = append(filters, filter.Programs[f.name])
	}

	// xdpdump on the first filter.
	dump, err := ebpf.LoadCollectionSpec(xdpTools + "xdpdump_bpf.o")
	if err != nil {
		return err
	}
	// struct trace_configuration: the device's index, the bytes to capture, the program's number.
	cfg := make([]byte, 12)
	binary.NativeEndian.PutUint32(cfg, 2)
	binary.NativeEndian.PutUint32(cfg[4:], 1500)
	if err := dump.Variables["trace_cfg"].Set(cfg); err != nil { // what MapSpec.Contents has of a variable is not used
		return err
	}
	for _, p := range dump.Programs {
		p.AttachTarget, p.AttachTo = filters[0], "xdpfilt_alw_tcp"
	}
	tracers, err := ebpf.NewCollection(dump)
	if err != nil {
		return fmt.Errorf("xdpdump: %w", err)
	}
	defer tracers.Close()
	for _, p := range tracers.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return err
		}
		defer l.Close()
	}
	events, err := perf.NewReader(tracers.Maps["xdpdump_perf_map"], 1<<20)
	if err != nil {
		return err
	}
	defer events.Close()

	l, err := link.AttachXDP(link.XDPOptions{Program: dispatcher, Interface: 2})
	if err != nil {
		return err
	}
	defer l.Close()
	if _, errs, code := skep("ip", "link", "set", "a", "up"); code != 0 {
		return errors.New(errs)
	}
	// Two samples for each packet, as it comes and as it was judged.
	var before, after, dropped, bytes int
	events.SetDeadline(time.Now().Add(10 * time.Second))
	for before+after < 2*74 { // so many packets the capture has
		rec, err := events.Read()
		if err != nil {
			out, _, _ := skep("ip", "-s", "link", "show", "a")
			return fmt.Errorf("after %d and %d samples: %w: %s", before, after, err, out)
		}
		m := rec.RawSample // struct pkt_trace_metadata: device, queue, lengths, moment, number, action
		if n := int(binary.NativeEndian.Uint16(m[8:])); binary.NativeEndian.Uint32(m) != 2 || len(m) < 20+n {
			return fmt.Errorf("sample %x", m)
		} else if binary.NativeEndian.Uint16(m[12:]) == 0 {
			before, bytes = before+1, bytes+n
		} else if after++; binary.NativeEndian.Uint32(m[16:]) == 1 {
			dropped++
		}
	}
	fmt.Printf("%d before, %d after, %d bytes, %d dropped\n", before, after, bytes, dropped)
	return nil
}

func init() { clients["xdptools"] = xdpToolsClient }

// TestXDPTools: Debian's dispatcher, filters and xdpdump's programs at work on a device.
func TestXDPTools(t *testing.T) {
	_, err := os.Stat(xdpTools + "xdp-dispatcher.o")
	oracle.Need(t, "xdp-tools", err)
	const path = "../../examples/captures/web.pcap"
	drops, err := kernelDrops(path)
	oracle.Need(t, "the live kernel's bpf(2)", err)
	served(t)
	must(t, "ip link add a type pcap in %s", path)
	t.Setenv(clientEnv, "xdptools")
	out, errs, code := skep("exec", "--", "/proc/self/exe")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	if want := fmt.Sprintf("74 before, 74 after, 23544 bytes, %d dropped\n", drops[0]); out != want || drops[0] == 0 || drops[1] == 0 {
		t.Errorf("%s, want %s", out, want)
	}
	if l := devices(t)["a"]; l.Stats.XDP["XDP_DROP"] != uint64(drops[0]+drops[1]) || l.Stats.RxPackets != 74 {
		t.Errorf("verdicts: %v, the kernel drops %v", l.Stats.XDP, drops)
	}
}
