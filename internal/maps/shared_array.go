package maps

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// An array that processes share has its values behind the first page of the file, as it has
// them in a block of its own otherwise: there is no number among them that leads anywhere. Updates of one element by
// several processes share whole words, as all do on the kernel.

func sharedArraySize(def *catalog.MapDef, _ int) (uint64, bool) { return arrayBytes(def), true }

func (s *shm) mapBehind(n uint64) (*mem.Block, errno.Errno) {
	b, err := s.file.Map(int64(pageSize), int(n))
	if err != nil {
		return nil, errno.ENOMEM
	}
	return b, 0
}

func newSharedArray(c *core) (Map, errno.Errno) {
	data, e := c.shm.mapBehind(arrayBytes(&c.def))
	if e != 0 {
		return nil, e
	}
	// Also of a map that is frozen the verifier knows nothing: others may have it mapped to write.
	m, e := arrayOver(c, data)
	if e != 0 {
		return nil, e
	}
	c.shareLocks(data)
	return m, 0
}

// newSealedArray makes an array that was constant when it was handed over, and stays so.
func newSealedArray(c *core) (Map, errno.Errno) {
	data, e := c.shm.mapBehind(arrayBytes(&c.def))
	if e != 0 {
		return nil, e
	}
	m, e := arrayOver(c, data)
	if e != 0 {
		return nil, e
	}
	c.frozen.Store(true)
	m.def.ReadConst = m.readConst
	return m, 0
}

func sharedPerCPUArraySize(def *catalog.MapDef, cpus int) (uint64, bool) {
	over, total := bits.Mul64(perCPUStride(def), uint64(cpus))
	return total, over == 0
}

// newSharedPerCPUArray makes an array in which each process has CPUs of its own, after those of the seats before it. Who
// takes a seat that another left goes on with that one's values, so that what was counted stays counted.
func newSharedPerCPUArray(c *core) (Map, errno.Errno) {
	n, _ := sharedPerCPUArraySize(&c.def, c.cfg.cpus())
	data, e := c.shm.mapBehind(n)
	if e != 0 {
		return nil, e
	}
	m, e := perCPUArrayOver(c, data, c.shm.firstCPU())
	if e != 0 {
		return nil, e
	}
	return m, 0
}
