// Package mem is the memory BPF programs can touch: allocated outside the Go
// heap, so that neither interpreter nor native code needs the garbage
// collector's leave to hold an address.
//
// Addresses are uint64, as they stand in BPF registers. The functions that
// turn an address into a slice or a value are the only places where skep makes
// a pointer out of a number; each trusts its caller that the bytes are alive
// (a Block not freed, or inside an epoch) and that the verifier or checked mode has bounded the access.
package mem

import (
	"os"
	"unsafe"
)

// Block is one allocation of zeroed memory: page aligned, unless guarded.
type Block struct {
	addr uint64
	data []byte
	raw  []byte // all that was mapped; keeps the memory reachable where it comes from the Go heap

	file *os.File // of shared memory, else nil
	echo []byte   // see AllocRing
}

// File is what other processes map the block's memory by; nil for memory that is not shared. It is the block's.
func (b *Block) File() *os.File { return b.file }

// Echo is the second copy of a ring's data in its file, nil where there is none:
// who writes a record across the end of the data has to write the rest of it here too.
func (b *Block) Echo() []byte { return b.echo }

// Addr returns the address of the first byte.
func (b *Block) Addr() uint64 { return b.addr }

// Size returns the usable size in bytes.
func (b *Block) Size() int { return len(b.data) }

// Bytes returns the whole block as a slice, valid until Free.
func (b *Block) Bytes() []byte { return b.data }

// Ptr makes a pointer of an address.
//
// The address is outside the Go heap, or its Go object is pinned by whoever
// made the address, so neither checkptr nor the collector has a claim on the
// conversion; nocheckptr keeps -race builds from applying the heap's rules.
//
//go:nocheckptr
func Ptr(addr uint64) unsafe.Pointer { return unsafe.Add(nil, uintptr(addr)) }

// Bytes returns n bytes at addr as a slice.
func Bytes(addr uint64, n int) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(Ptr(addr)), n)
}

// Load8, Load16, Load32 and Load64 read a value in the machine's byte order,
// at any alignment.
func Load8(addr uint64) uint8 { return *(*uint8)(Ptr(addr)) }

// Load16 reads two bytes. See [Load8].
func Load16(addr uint64) uint16 { return *(*uint16)(Ptr(addr)) }

// Load32 reads four bytes. See [Load8].
func Load32(addr uint64) uint32 { return *(*uint32)(Ptr(addr)) }

// Load64 reads eight bytes. See [Load8].
func Load64(addr uint64) uint64 { return *(*uint64)(Ptr(addr)) }

// Store8 writes one byte; Store16, Store32 and Store64 write a value in the
// machine's byte order, at any alignment.
func Store8(addr uint64, v uint8) { *(*uint8)(Ptr(addr)) = v }

// Store16 writes two bytes. See [Store8].
func Store16(addr uint64, v uint16) { *(*uint16)(Ptr(addr)) = v }

// Store32 writes four bytes. See [Store8].
func Store32(addr uint64, v uint32) { *(*uint32)(Ptr(addr)) = v }

// Store64 writes eight bytes. See [Store8].
func Store64(addr uint64, v uint64) { *(*uint64)(Ptr(addr)) = v }
