package mem

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AllocMirrored returns head zeroed bytes, then size zeroed bytes, then the
// same size bytes once more: what is written across the end of the first copy
// appears at its beginning. Both lengths are multiples of the page size.
//
//	│ head │ data │ data again │
func AllocMirrored(head, size int) (*Block, error) {
	b, err := allocMirrored(head, head, size, false)
	if err != nil {
		return nil, err
	}
	return register(b), nil
}

// AllocRing is AllocMirrored for memory that other processes map: a file holds
// the head from its first private bytes on, the data, and the data's second
// copy, which a file cannot alias. [Block.Echo] is that second copy.
//
//	block  │ private │ head │ data │ data again │
//	file             │ head │ data │ echo       │
func AllocRing(private, head, size int) (*Block, error) {
	b, err := allocMirrored(private, head, size, true)
	if err != nil {
		return nil, err
	}
	return register(b), nil
}

func allocMirrored(private, head, size int, shared bool) (*Block, error) {
	fail := func(err error) (*Block, error) {
		return nil, fmt.Errorf("mem: mirrored block of %d bytes: %w", size, err)
	}
	fd, err := unix.MemfdCreate("bpf-map", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fail(err)
	}
	b := &Block{}
	if shared {
		b.file = os.NewFile(uintptr(fd), "bpf-map")
	} else {
		defer unix.Close(fd)
	}
	infile := head - private // of the head
	length := infile + size
	if shared {
		length += size
	}
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		return fail(err)
	}
	keepSize(fd)
	const access = unix.PROT_READ | unix.PROT_WRITE
	raw, err := unix.Mmap(-1, 0, head+2*size, access, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return fail(err)
	}
	for _, part := range []struct{ at, off, n int }{{private, 0, infile + size}, {head + size, infile, size}} {
		// MAP_FIXED replaces pages of the mapping above, which nobody uses yet.
		if _, err := unix.MmapPtr(fd, int64(part.off), unsafe.Pointer(&raw[part.at]), uintptr(part.n), access, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
			unix.Munmap(raw)
			return fail(err)
		}
	}
	if shared {
		if b.echo, err = unix.Mmap(fd, int64(infile+size), size, access, unix.MAP_SHARED); err != nil {
			unix.Munmap(raw)
			return fail(err)
		}
	}
	b.addr, b.data, b.raw = uint64(uintptr(unsafe.Pointer(&raw[0]))), raw, raw
	return b, nil
}

// keepSize has no process cut the file off, or let it grow: touching what is gone is a fault.
func keepSize(fd int) {
	unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
}

// AllocShared is Alloc for memory that other processes map by [Block.File].
func AllocShared(size int) (*Block, error) {
	if size <= 0 {
		return nil, fmt.Errorf("mem: allocation of %d bytes", size)
	}
	fd, err := unix.MemfdCreate("bpf-map", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("mem: shared block: %w", err)
	}
	b := &Block{file: os.NewFile(uintptr(fd), "bpf-map")}
	page := os.Getpagesize()
	pages := (size + page - 1) &^ (page - 1)
	if err := unix.Ftruncate(fd, int64(pages)); err != nil {
		return nil, fmt.Errorf("mem: shared block of %d bytes: %w", size, err)
	}
	keepSize(fd)
	raw, err := unix.Mmap(fd, 0, pages, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mem: %d bytes: %w", size, err)
	}
	b.addr, b.data, b.raw = uint64(uintptr(unsafe.Pointer(&raw[0]))), raw[:size], raw
	return register(b), nil
}

// Seal keeps other processes from mapping a shared block to write from now on.
func (b *Block) Seal() {
	if b.file != nil {
		unix.FcntlInt(b.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE)
	}
}

// unshare gives back what belongs to shared blocks alone.
func (b *Block) unshare() {
	if b.file != nil {
		b.file.Close()
	}
	if b.echo != nil {
		unix.Munmap(b.echo)
	}
}
