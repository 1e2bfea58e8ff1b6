//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"
)

// sampler makes a program that writes one sample of 8 bytes, and the map it writes to.
func sampler() (*ebpf.Program, *ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerfEventArray})
	if err != nil {
		return nil, nil, err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 42), asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R2, m.FD()),
		asm.LoadImm(asm.R3, 0xffffffff, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.RFP), asm.Add.Imm(asm.R4, -8),
		asm.Mov.Imm(asm.R5, 8),
		asm.FnPerfEventOutput.Call(),
		asm.Return(),
	}})
	return p, m, err
}

func init() {
	// samples reads what a program writes, until the buffers are full and after.
	clients["samples"] = func() error {
		p, m, err := sampler()
		if err != nil {
			return err
		}
		r, err := perf.NewReader(m, os.Getpagesize())
		if err != nil {
			return err
		}
		for range 2000 { // more than the buffers hold: the program is told
			if _, _, err := p.Test(make([]byte, 14)); err != nil {
				return err
			}
		}
		n, lost := 0, uint64(0)
		for n < 100 {
			rec, err := r.Read()
			if err != nil {
				return err
			}
			if lost += rec.LostSamples; rec.LostSamples == 0 {
				if n++; rec.RawSample[0] != 42 {
					return fmt.Errorf("sample %v", rec.RawSample)
				}
			}
		}
		if err := errors.Join(r.Pause(), r.Close()); err != nil {
			return err
		}
		if ret, _, err := p.Test(make([]byte, 14)); err != nil || unix.Errno(-int32(ret)) != unix.ENOENT {
			return fmt.Errorf("output without a reader: %d, %w", int32(ret), err)
		}
		return nil
	}
	// scribbler maps a perf buffer and a ring buffer and writes everything it may and may not.
	clients["scribbler"] = func() error {
		runtime.LockOSThread()
		p, m, err := sampler()
		if err != nil {
			return err
		}
		page := os.Getpagesize()
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_BPF_OUTPUT, Sample_type: unix.PERF_SAMPLE_RAW, Wakeup: 1}
		attr.Size = uint32(unsafe.Sizeof(attr))
		for cpu := range int(m.MaxEntries()) {
			fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err != nil {
				return err
			}
			if _, err := unix.Mmap(fd, 0, 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("3 pages of data: %w", err)
			}
			b, err := unix.Mmap(fd, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			if err := unix.Ftruncate(fd, 0); err == nil {
				return errors.New("a buffer can be cut off under the server")
			}
			if err := m.Put(uint32(cpu), uint32(fd)); err != nil {
				return err
			}
			for _, junk := range []byte{0xff, 0x80, 1, 0} {
				for i := range b {
					b[i] = junk
				}
				if _, _, err := p.Test(make([]byte, 14)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// traces attaches to a tracepoint and to an instruction of its own binary.
	clients["traces"] = func() error {
		tp, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.TracePoint, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			return err
		}
		kp, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			return err
		}
		l, err := link.Tracepoint("syscalls", "sys_enter_getpid", tp, &link.TracepointOptions{Cookie: 7})
		if err != nil {
			return err
		}
		defer l.Close()
		in, err := l.Info()
		if err != nil {
			return err
		}
		if name := in.PerfEvent().Tracepoint(); name.Tracepoint != "sys_enter_getpid" || name.Cookie != 7 {
			return fmt.Errorf("tracepoint %+v", name)
		}
		if _, err := link.Tracepoint("nobody", "knows_this", tp, nil); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("a tracepoint that is none: %w", err)
		}
		ex, err := link.OpenExecutable("/proc/self/exe")
		if err != nil {
			return err
		}
		u, err := ex.Uprobe("main.main", kp, &link.UprobeOptions{Address: 0x100})
		if err != nil {
			return err
		}
		return u.Close()
	}
}

func TestPerfEvents(t *testing.T) {
	for _, name := range []string{"samples", "scribbler", "traces"} {
		before := files(t)
		sys, code := serveClient(t, name)
		if code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		empty(t, sys)
		if after := files(t); after > before+3 {
			t.Errorf("%s: %d descriptors open, %d before", name, after, before)
		}
	}
}
