package ringbuf_test

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/ringbuf"
)

// sender outputs its mark, 8 bytes, with the flags in cb[0].
const sender = `
	r6 = *(u32 *)(r1 + 8)     # mark
	r4 = *(u32 *)(r1 + 48)    # cb[0]
	*(u64 *)(r10 - 8) = r6
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	r3 = 8
	call bpf_ringbuf_output
	exit
`

func setup(t *testing.T, size uint32) (*skep.Program, *ringbuf.Reader) {
	t.Helper()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	coll, err := m.LoadCollection(testprog.Image(t,
		[]*image.Map{{Name: "ring", Type: catalog.MapRingBuf, MaxEntries: size}},
		testprog.Prog{Name: "send", Type: catalog.ProgSchedCls, Text: sender}))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	r, err := ringbuf.NewReader(coll.Maps["ring"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return coll.Programs["send"], r
}

func send(t *testing.T, p *skep.Program, mark, flags uint32) int32 {
	t.Helper()
	ret, err := p.Run(&skep.RunOptions{Data: make([]byte, 64), Context: &skep.SKBuff{Mark: mark, CB: [5]uint32{flags}}})
	if err != nil {
		t.Error(err)
	}
	return int32(ret)
}

func TestRecordsInOrder(t *testing.T) {
	p, r := setup(t, 4096)
	const n = 2000 // wraps several times
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint32(0); i < n; {
			if send(t, p, i, 0) == 0 {
				i++
			}
		}
	})
	var rec ringbuf.Record
	for i := range uint64(n) {
		if err := r.ReadInto(&rec); err != nil {
			t.Fatal(err)
		}
		if got := binary.NativeEndian.Uint64(rec.RawSample); got != i || len(rec.RawSample) != 8 {
			t.Fatalf("record %d is %d, %d bytes", i, got, len(rec.RawSample))
		}
	}
	wg.Wait()
	if got := r.AvailableBytes(); got != 0 {
		t.Errorf("%d bytes left", got)
	}
}

func TestFullRingDrops(t *testing.T) {
	p, r := setup(t, 4096)
	sent := 0
	for send(t, p, 1, 0) == 0 {
		sent++
	}
	if want := 4096/16 - 1; sent != want && sent != want+1 {
		t.Errorf("%d records of 16 bytes in 4096", sent)
	}
	if r.Dropped() != 1 {
		t.Errorf("%d dropped, want 1", r.Dropped())
	}
}

func TestDeadlineCloseFlush(t *testing.T) {
	p, r := setup(t, 4096)
	r.SetDeadline(time.Now().Add(-time.Second))
	if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	r.SetDeadline(time.Time{})

	const noWakeup = 1
	send(t, p, 5, noWakeup)
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	rec, err := r.Read()
	if err != nil || binary.NativeEndian.Uint64(rec.RawSample) != 5 {
		t.Errorf("record without wake-up: %v, %v", rec, err)
	}
	if _, err := r.Read(); !errors.Is(err, ringbuf.ErrFlushed) {
		t.Errorf("after the flush: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Read()
		done <- err
	}()
	r.Close()
	if err := <-done; !errors.Is(err, ringbuf.ErrClosed) {
		t.Errorf("closed under a reader: %v", err)
	}
}

func TestWrongMap(t *testing.T) {
	m, err := skep.NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(testprog.Image(t, []*image.Map{
		{Name: "a", Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	if _, err := ringbuf.NewReader(coll.Maps["a"]); err == nil {
		t.Error("an array was read as a ring buffer")
	}
}
