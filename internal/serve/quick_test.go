//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestGlance: what a call points at is read with its attribute from the second call
// on, and only what is there and was asked for is believed.
func TestGlance(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, 2*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	at := func(off int) uint64 { return uint64(uintptr(unsafe.Pointer(&mem[off]))) }
	for i := range mem {
		mem[i] = byte(i*7 + i>>8)
	}
	var g glance
	pid := uint32(os.Getpid())
	look := func() { g.look(pid, &notif{Args: [6]uint64{0, at(64), 32}}) }
	get := func(off, n int) bool {
		t.Helper()
		b := make([]byte, n)
		ok := g.read(at(off), b)
		if ok && !bytes.Equal(b, mem[off:off+n]) {
			t.Errorf("at %d: %x, want %x", off, b, mem[off:off+n])
		}
		return ok
	}
	look()
	if !get(64, 32) || !get(72, 8) || get(60, 8) {
		t.Error("the attribute is there, nothing beside it")
	}
	look()
	if get(1000, 4) || get(2000, 8) {
		t.Error("nobody could know the key and the value")
	}
	mem[1000]++
	look()
	if !get(64, 32) || !get(1000, 4) || !get(2000, 8) {
		t.Error("the same key and value again")
	}
	look()
	if get(1004, 4) || !get(2000, 8) || get(2000, 8) {
		t.Error("another key, the same value, and one thing more")
	}
	// A key in memory that goes away: the attribute and what comes before it stay.
	look()
	get(1004, 4)
	get(4096, 8)
	if err := unix.Mprotect(mem[4096:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	look()
	if !get(64, 32) || !get(1004, 4) || g.read(at(4096), make([]byte, 8)) {
		t.Error("a value that is no longer there")
	}
	g.look(pid, &notif{Args: [6]uint64{0, at(4096), 32}})
	if g.read(at(4096), make([]byte, 8)) || g.read(at(64), make([]byte, 8)) {
		t.Error("an attribute that is not there")
	}
}

// TestFDDirs: descriptors are found by the directory of a client that called before,
// and a process that has another's number is another.
func TestFDDirs(t *testing.T) {
	var d fdDirs
	defer d.close()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want, got unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &want); err != nil {
		t.Fatal(err)
	}
	pid := uint32(os.Getpid())
	for range 2 {
		if err := d.stat(pid, int32(f.Fd()), &got); err != nil || got.Ino != want.Ino {
			t.Fatalf("%v, inode %d, want %d", err, got.Ino, want.Ino)
		}
	}
	if err := d.stat(pid, 1<<20, &got); err == nil {
		t.Error("a descriptor that is not open")
	}
	// The directory of a process that has ended, under the number of one that lives.
	slot := &d[pid%uint32(len(d))]
	unix.Close(slot.fd)
	if slot.fd, err = unix.Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.stat(pid, int32(f.Fd()), &got); err != nil || got.Ino != want.Ino {
		t.Errorf("behind an old directory: %v, inode %d, want %d", err, got.Ino, want.Ino)
	}
}
