//go:build amd64 || arm64

package exec

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InstallSealed copies code into executable memory of its own and seals that:
// no mapping of it, nor the file behind it, can be made writable any more. The
// code begins at a random place in its first page.
func InstallSealed(code []byte) (*Text, error) {
	t, err := installSealed(code)
	if err != nil {
		return nil, fmt.Errorf("sealed executable memory: %w", errors.Join(err, errors.ErrUnsupported))
	}
	return t, nil
}

func installSealed(code []byte) (*Text, error) {
	page := os.Getpagesize()
	off := rand.IntN(page) &^ (codeAlign - 1)
	size := (off + len(code) + page - 1) &^ (page - 1)
	fd, err := unix.MemfdCreate("skep-text", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel that does not know MFD_EXEC
		fd, err = unix.MemfdCreate("skep-text", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	r := &region{fd: fd}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	if err := r.fill(span{0, size}, nil); err != nil {
		return nil, err
	}
	if err := r.fill(span{off, len(code)}, code); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, err
	}
	// Mapped after it was sealed, so that mprotect cannot make it writable either.
	if r.code, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	if err := r.settle(span{0, size}); err != nil {
		unix.Munmap(r.code)
		return nil, err
	}
	return &Text{own: r.code, addr: uint64(uintptr(unsafe.Pointer(&r.code[off])))}, nil
}

// InstallAnonymous copies code into executable memory of its own that no file is
// behind, for tools that ask for names of code only there, as perf does. It is
// writable until the code is in it, and executable from then on.
func InstallAnonymous(code []byte) (*Text, error) {
	t, err := installAnonymous(code)
	if err != nil {
		return nil, fmt.Errorf("anonymous executable memory: %w", errors.Join(err, errors.ErrUnsupported))
	}
	return t, nil
}

func installAnonymous(code []byte) (*Text, error) {
	page := os.Getpagesize()
	off := rand.IntN(page) &^ (codeAlign - 1)
	size := (off + len(code) + page - 1) &^ (page - 1)
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	for i := range m {
		m[i] = trap[i%len(trap)]
	}
	copy(m[off:], code)
	r := &region{fd: -1, code: m}
	if err = unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC); err == nil {
		err = r.settle(span{0, size})
	}
	if err != nil {
		unix.Munmap(m)
		return nil, err
	}
	return &Text{own: m, addr: uint64(uintptr(unsafe.Pointer(&m[off])))}, nil
}
