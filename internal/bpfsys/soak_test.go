//go:build linux

package bpfsys

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	executions = flag.Int("executions", 20000, "random inputs of FuzzBpf that TestBpfSoak tries")
	soakSeed   = flag.Uint64("seed", 1, "what TestBpfSoak begins with")
)

// TestBpfSoak runs the body of FuzzBpf on inputs made of its seeds, without what
// coverage costs: a few calls each, whose fields hold what breaks things. Now and
// then it looks whether memory, descriptors or goroutines have become more.
func TestBpfSoak(t *testing.T) {
	r := rand.New(rand.NewPCG(*soakSeed, 0))
	z := newFuzzed(t)
	seeds := fuzzSeeds()
	var calls, data []byte
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("panic: %v\nkept in %s\n%s", p, keepCrasher(t, calls, data), stack())
		}
	}()
	every := max(*executions/20, 5000)
	var before use
	for n := range *executions {
		if n%every == every/2 {
			now := used(z.s)
			if before == (use{}) {
				before = now
			}
			if now.goroutines > before.goroutines || now.files > before.files || now.heap > before.heap+8<<20 || now.resident > before.resident+64<<20 {
				t.Fatalf("after %d executions: %v; in the beginning %v", n, now, before)
			}
			t.Logf("%d executions, %d calls, %d of them successful: %v", n, z.calls, z.successes, now)
		}
		calls, data = calls[:0], data[:0]
		for range 1 + r.IntN(6) {
			calls = appendCall(calls, r, seeds[r.IntN(len(seeds))])
		}
		for range r.IntN(64) {
			data = binary.NativeEndian.AppendUint64(data, interesting(r))
		}
		began := time.Now()
		z.run(t, calls, data)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%v for one input, kept in %s", took, keepCrasher(t, calls, data))
		}
	}
	t.Logf("%d executions, %d calls, %d of them successful", *executions, z.calls, z.successes)
}

// fuzzSeeds are calls as FuzzBpf begins with: command, size, attribute.
func fuzzSeeds() [][]byte {
	d := &side{mem: make([]byte, memSize), made: fuzzObjects}
	all := basesAt(d, func(off int) uint64 { return memBase + uint64(off) })
	var seeds [][]byte
	for _, what := range slices.Sorted(maps.Keys(all)) {
		seeds = append(seeds, append([]byte{byte(all[what].cmd), attrSize}, raw(all[what].attr)...))
	}
	return seeds
}

// appendCall appends a seed of which some fields, or bytes, or the size, or the command are others.
func appendCall(dst []byte, r *rand.Rand, seed []byte) []byte {
	at := len(dst)
	dst = append(dst, seed...)
	call := dst[at:]
	attr := call[2:]
	for range max(0, r.IntN(6)-2) {
		switch r.IntN(8) {
		case 0:
			attr[r.IntN(len(attr))] ^= byte(1 << r.IntN(8))
		case 1:
			binary.NativeEndian.PutUint64(attr[r.IntN(len(attr)/8)*8:], interesting(r))
		case 2:
			binary.NativeEndian.PutUint32(attr[r.IntN(8)*4:], uint32(1001+r.IntN(24))) // a descriptor, most lie in front
		case 3:
			if r.IntN(4) == 0 {
				call[0] = byte(r.IntN(len(commands) + 1))
			}
		case 4:
			if r.IntN(4) == 0 {
				n := r.IntN(len(attr) + 1)
				call[1] = byte(n)
				return dst[:at+2+n]
			}
		default:
			binary.NativeEndian.PutUint32(attr[r.IntN(len(attr)/4)*4:], uint32(interesting(r)))
		}
	}
	return dst
}

// interesting returns a number that fields mean something by, or should not.
func interesting(r *rand.Rand) uint64 {
	switch r.IntN(6) {
	case 0:
		return uint64(r.IntN(64))
	case 1:
		return memBase + uint64(r.IntN(memSize)&^7)
	case 2:
		return 1 << r.IntN(64)
	case 3:
		return 1<<r.IntN(64) - 1
	case 4:
		return -(1 << r.IntN(64))
	}
	return r.Uint64()
}

// use is what a process holds on to.
type use struct {
	goroutines, files int
	heap, resident    uint64 // bytes
}

func (u use) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, heap %d KiB, resident %d KiB", u.goroutines, u.files, u.heap>>10, u.resident>>10)
}

func used(s *System) use {
	runtime.GC()
	s.m.Epoch.Reclaim()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	files, _ := os.ReadDir("/proc/self/fd")
	text, _ := os.ReadFile("/proc/self/statm")
	var pages uint64
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ = strconv.ParseUint(f[1], 10, 64)
	}
	return use{runtime.NumGoroutine(), len(files), ms.HeapAlloc, pages * uint64(os.Getpagesize())}
}

// keepCrasher writes an input where FuzzBpf finds it.
func keepCrasher(t *testing.T, calls, data []byte) string {
	name := filepath.Join("testdata", "fuzz", "FuzzBpf", fmt.Sprintf("soak-%016x", rand.Uint64()))
	text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n[]byte(%q)\n", calls, data)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Error(err)
	}
	return name
}

func stack() []byte {
	b := make([]byte, 64<<10)
	return b[:runtime.Stack(b, false)]
}
