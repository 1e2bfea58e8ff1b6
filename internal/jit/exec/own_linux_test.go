//go:build amd64 || arm64

package exec

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/mem"
)

// Sealed code cannot be made writable: not by mprotect, nor through /proc/self/mem.
func TestSealed(t *testing.T) {
	code := bytes.Repeat(trap[:], 1000)
	x, err := InstallSealed(code)
	if err != nil {
		t.Fatal(err)
	}
	if got := mem.Bytes(x.Addr(), len(code)); !bytes.Equal(got, code) {
		t.Error("the code is not there")
	}
	if err := unix.Mprotect(x.own, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		t.Error("mprotect made it writable")
	}
	m, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteAt([]byte{1}, int64(x.Addr())); err == nil {
		t.Error("it was written through /proc/self/mem")
	}
	starts := map[uint64]bool{}
	for range 16 {
		y, err := InstallSealed(code)
		if err != nil {
			t.Fatal(err)
		}
		starts[y.Addr()%uint64(os.Getpagesize())] = true
		y.Free()
	}
	if len(starts) < 3 {
		t.Error("code begins at the same offsets over and over")
	}
	at := x.Addr()
	x.Free()
	x.Free()
	if mapped(t, at) {
		t.Error("freed code is still mapped")
	}
}

// Anonymous code is where it says, and cannot be written to by mistake.
func TestAnonymous(t *testing.T) {
	code := bytes.Repeat(trap[:], 3000)
	x, err := InstallAnonymous(code)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Free()
	if got := mem.Bytes(x.Addr(), len(code)); !bytes.Equal(got, code) {
		t.Error("the code is not there")
	}
	want := fmt.Sprintf("%x-%x r-xp 00000000 00:00 0", uintptr(unsafe.Pointer(&x.own[0])), uintptr(unsafe.Pointer(&x.own[0]))+uintptr(len(x.own)))
	if maps := string(mapsOf(t)); !strings.Contains(maps, want) {
		t.Errorf("no mapping %s in\n%s", want, maps)
	}
}

// mapped reports whether code lies at addr.
func mapped(t *testing.T, addr uint64) bool {
	for line := range strings.Lines(string(mapsOf(t))) {
		var lo, hi uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &lo, &hi); err == nil && lo <= addr && addr < hi && strings.Contains(line, "skep-text") {
			return true
		}
	}
	return false
}

func mapsOf(t *testing.T) []byte {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return maps
}

// At no moment is a mapping writable and executable, while code comes and goes.
func TestNeverWritableAndExecutable(t *testing.T) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, install := range []func([]byte) (*Text, error){Install, InstallSealed, InstallAnonymous} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				x, err := install(trap[:])
				if err != nil {
					t.Error(err)
					return
				}
				x.Free()
			}
		})
	}
	writable := 0
	for range 300 {
		for line := range strings.Lines(string(mapsOf(t))) {
			perms := strings.Fields(line)[1]
			if strings.Contains(perms, "w") && strings.Contains(perms, "x") {
				t.Errorf("writable and executable: %s", line)
			}
			if strings.Contains(perms, "w") && strings.Contains(line, "skep-text") {
				writable++
			}
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d times a writable mapping was seen beside the executable one", writable)
}
