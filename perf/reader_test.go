package perf_test

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/perf"
)

// sender outputs its mark, 8 bytes, and the first 4 bytes of the packet.
const sender = `
	r6 = *(u32 *)(r1 + 8)     # mark
	*(u64 *)(r10 - 8) = r6
	r2 = map_idx[0] ll
	r3 = 0x4ffffffff ll       # BPF_F_CURRENT_CPU, 4 bytes of the packet
	r4 = r10
	r4 += -8
	r5 = 8
	call bpf_perf_event_output
	exit
`

func setup(t *testing.T) (*skep.Program, *perf.Reader) {
	t.Helper()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	coll, err := m.LoadCollection(testprog.Image(t,
		[]*image.Map{{Name: "ev", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 2}},
		testprog.Prog{Name: "send", Type: catalog.ProgSchedCls, Text: sender}))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	r, err := perf.NewReader(coll.Maps["ev"], 4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return coll.Programs["send"], r
}

func send(t *testing.T, p *skep.Program, cpu, mark uint32) int32 {
	t.Helper()
	data := make([]byte, 64)
	copy(data, "abcd")
	ret, err := p.Run(&skep.RunOptions{Data: data, Context: &skep.SKBuff{Mark: mark}, CPU: cpu, Flags: skep.TestRunOnCPU})
	if err != nil {
		t.Fatal(err)
	}
	return int32(ret)
}

func TestSamplesOfEachCPU(t *testing.T) {
	p, r := setup(t)
	for cpu := range uint32(2) {
		if ret := send(t, p, cpu, 10+cpu); ret != 0 {
			t.Fatalf("output on CPU %d: %d", cpu, ret)
		}
	}
	seen := map[int]uint64{}
	for range 2 {
		rec, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if string(rec.RawSample[8:12]) != "abcd" {
			t.Errorf("the packet's part is %q", rec.RawSample[8:])
		}
		seen[rec.CPU] = binary.NativeEndian.Uint64(rec.RawSample)
	}
	if seen[0] != 10 || seen[1] != 11 {
		t.Errorf("got %v", seen)
	}
}

func TestLostSamplesAreReported(t *testing.T) {
	p, r := setup(t)
	sent, lost := 0, 0
	for lost < 3 {
		if send(t, p, 0, 1) == 0 {
			sent++
		} else {
			lost++
		}
	}
	for range sent {
		if rec, err := r.Read(); err != nil || rec.LostSamples != 0 {
			t.Fatalf("%v, %v", rec, err)
		}
	}
	send(t, p, 0, 2)
	rec, err := r.Read()
	if err != nil || rec.LostSamples != 3 {
		t.Errorf("got %+v, %v; want 3 lost", rec, err)
	}
}

func TestPauseDeadlineClose(t *testing.T) {
	p, r := setup(t)
	r.Pause()
	if ret := send(t, p, 0, 1); ret != -2 {
		t.Errorf("output while paused: %d, want -ENOENT", ret)
	}
	r.Resume()
	if ret := send(t, p, 0, 1); ret != 0 {
		t.Errorf("output after Resume: %d", ret)
	}
	if _, err := r.Read(); err != nil {
		t.Error(err)
	}
	r.SetDeadline(time.Now().Add(-time.Second))
	if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	r.SetDeadline(time.Time{})
	r.Flush()
	if _, err := r.Read(); !errors.Is(err, perf.ErrFlushed) {
		t.Errorf("after the flush: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Read()
		done <- err
	}()
	r.Close()
	if err := <-done; !errors.Is(err, perf.ErrClosed) {
		t.Errorf("closed under a reader: %v", err)
	}
}
