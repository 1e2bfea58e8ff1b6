package skep_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/ringbuf"
)

// Constants go as memory nobody can change, so that the verifier goes by them on both sides.
func TestSharedConstants(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	img := testprog.Image(t, []*image.Map{{Name: ".rodata", KernelName: "x.rodata", Kind: image.KindRodata, Type: catalog.MapArray,
		KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: catalog.FlagRdonlyProg, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}, Freeze: true}},
		// Only who knows that the constant is 1 sees that the division by r1's memory is never reached.
		testprog.Prog{Name: "one", Type: catalog.ProgSchedCls, Text: `
			r1 = map_idx_value[0][0] ll
			r0 = *(u32 *)(r1 + 0)
			if r0 == 1 goto out
			r0 = *(u64 *)(r0 + 0)
		out:
			exit`})
	coll := shared(t, m, img)
	if coll.Maps[".rodata"].Shared() {
		t.Error("constants lie in memory that others can write")
	}
	a, b := socketPair(t)
	if err := coll.Send(a); err != nil {
		t.Fatal(err)
	}
	got, err := m.Receive(b)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer got.Close()
	var v uint64
	ro := got.Maps[".rodata"]
	if err := ro.Lookup(uint32(0), &v); err != nil || v != 1 {
		t.Errorf("constant is %d, %v", v, err)
	}
	var num skep.Errno
	if err := ro.Put(uint32(0), uint64(2)); !errors.As(err, &num) || num.Name() != "EPERM" {
		t.Errorf("it was written: %v", err)
	}
	if err := got.Send(b); err != nil { // and on
		t.Fatal(err)
	}
	again, err := m.Receive(a)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	again.Close()
}

// A program array arrives with the programs that came in it, and each process changes its own.
func TestSendTailCalls(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	img := testprog.Image(t, []*image.Map{{Name: "jumps", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 3}},
		testprog.Prog{Name: "first", Type: catalog.ProgSchedCls, Text: `
			r2 = map_idx[0] ll
			r3 = 1
			call bpf_tail_call
			r0 = 1
			exit`},
		testprog.Prog{Name: "second", Type: catalog.ProgSchedCls, Text: "r0 = 7\nexit"})
	img.Maps[0].Slots = []image.Slot{{Key: 1, Prog: img.Programs[1]}}
	coll := shared(t, m, img)
	coll.Maps["too"] = coll.Maps["jumps"].Clone()
	a, b := socketPair(t)
	if err := coll.Send(a); err != nil {
		t.Fatal(err)
	}
	got, err := m.Receive(b)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer got.Close()
	run := func(c *skep.Collection) uint32 {
		ret, _, err := c.Programs["first"].Test(make([]byte, 64))
		if err != nil {
			t.Fatal(err)
		}
		return ret
	}
	if ret := run(got); ret != 7 {
		t.Errorf("the tail call gave %d", ret)
	}
	if err := coll.Maps["jumps"].Delete(uint32(1)); err != nil {
		t.Fatal(err)
	}
	if ours, theirs := run(coll), run(got); ours != 1 || theirs != 7 {
		t.Errorf("after a deletion here: %d here, %d there", ours, theirs)
	}
	if err := got.Maps["too"].Delete(uint32(1)); err != nil || run(got) != 1 {
		t.Errorf("the other name is of another map: %v", err)
	}
	if err := coll.Maps["jumps"].Put(uint32(0), got.Programs["second"]); err != nil {
		t.Fatal(err)
	}
	if err := coll.Send(a); err == nil || err.Error() != "send: map jumps: the program in entry 0 is not among the collection's" {
		t.Errorf("a program from elsewhere: %v", err)
	}
}

// What cannot be shared is named, and nothing is sent.
func TestSendRefuses(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	a, b := socketPair(t)
	maps := []*image.Map{{Name: "recent", Type: catalog.MapLRUHash, KeySize: 4, ValueSize: 4, MaxEntries: 8}}
	coll := shared(t, m, testprog.Image(t, maps))
	private := load(t, m, testprog.Image(t, []*image.Map{arrayMap("mine", 4, 1)}))
	for _, c := range []struct {
		coll *skep.Collection
		want string
	}{
		{coll, "send: map recent cannot be shared with other processes: those of type lru_hash are of one process alone"},
		{private, "send: map mine cannot be shared with other processes: it was not made to be (CollectionOptions.Share)"},
	} {
		if err := c.coll.Send(a); !errors.Is(err, skep.ErrNotSupported) || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
	a.Close()
	if _, err := m.Receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("after refusals: %v, want nothing to have been sent", err)
	}
}

// A frozen map is frozen in all processes.
func TestSharedFreeze(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	coll := shared(t, m, testprog.Image(t, []*image.Map{arrayMap("a", 4, 1)}))
	f, err := coll.Maps["a"].File()
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.OpenMap(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := coll.Maps["a"].Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := other.Put(uint32(0), uint32(1)); err == nil {
		t.Error("a map frozen elsewhere was written")
	}
}

// Sending, receiving and closing leaves no descriptor and no mapping behind; nor do refusals.
func TestShareLeaksNothing(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	a, b := socketPair(t)
	round := func() {
		coll, err := m.LoadCollectionWithOptions(sharedImage(t), skep.CollectionOptions{Share: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := coll.Send(a); err != nil {
			t.Fatal(err)
		}
		got, err := m.Receive(b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ringbuf.NewReader(got.Maps["events"])
		if err != nil {
			t.Fatal(err)
		}
		r.SetDeadline(time.Now().Add(-time.Second))
		r.Read()
		r.Close()
		got.Close()
		if f, err := os.CreateTemp(t.TempDir(), ""); err == nil {
			if _, err := m.OpenMap(f); !errors.Is(err, skep.ErrBadPeer) {
				t.Fatalf("a file on disk: %v", err)
			}
			f.Close()
		}
		coll.Close()
	}
	round()
	fds, spans := usage(t)
	for range 50 {
		round()
	}
	if f, s := usage(t); f > fds || s > spans+4 {
		t.Errorf("%d descriptors were %d, %d mappings of maps were %d", f, fds, s, spans)
	}
}

// usage counts the process's descriptors, and its mappings of shared memory.
func usage(t *testing.T) (fds, spans int) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir), strings.Count(string(maps), "memfd:bpf-map")
}
