package linux

import (
	"errors"
	"unsafe"
)

// BTF is a set of types in the kernel.
type BTF struct{ fd int }

type btfLoadAttr struct {
	btf      unsafe.Pointer
	log      unsafe.Pointer
	size     uint32
	logSize  uint32
	logLevel uint32
	trueSize uint32
}

// LoadBTF hands the kernel a raw BTF blob. A refusal carries the kernel's log.
func LoadBTF(blob []byte) (*BTF, error) {
	attr := btfLoadAttr{btf: unsafe.Pointer(unsafe.SliceData(blob)), size: uint32(len(blob))}
	fd, err := bpf(cmdBTFLoad, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if e := (*Error)(nil); errors.As(err, &e) {
		log := make([]byte, 1<<20)
		attr.log, attr.logSize, attr.logLevel = unsafe.Pointer(&log[0]), uint32(len(log)), 1
		if fd, again := bpf(cmdBTFLoad, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); again == nil {
			return &BTF{fd: fd}, nil
		}
		e.Log = cString(log)
	}
	if err != nil {
		return nil, err
	}
	return &BTF{fd: fd}, nil
}

// FD returns the descriptor, which stays the BTF's own.
func (b *BTF) FD() int { return b.fd }

// Close drops the types.
func (b *BTF) Close() error { return closeFD(b.fd) }
