package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// storageFuncs keep values with sockets and with places at control groups
// (net/core/bpf_sk_storage.c, kernel/bpf/local_storage.c).
var storageFuncs = map[catalog.HelperID]Func{
	catalog.FnGetLocalStorage: getLocalStorage,

	catalog.FnSkStorageGet:    skStorageGet,
	catalog.FnSkStorageDelete: skStorageDelete,
}

// storageCreate makes the value where there is none (BPF_SK_STORAGE_GET_F_CREATE).
const storageCreate = 1

// storage returns the map whose header lies at ptr and the socket at sk, nil for
// one that is not full, or that is only told of.
func (e *Env) storage(ptr, sk uint64) (*maps.LocalStorage, *socket.Socket) {
	m, ok := e.Host.Map(ptr).(*maps.LocalStorage)
	if !ok {
		panic("BUG: a socket's storage asked of another map")
	}
	if sk == 0 {
		return m, nil
	}
	if e.Prog.Type == catalog.ProgStructOps {
		if k := e.Host.KernelSock(sk); k != nil {
			return m, k.Socket()
		}
		return m, nil
	}
	if !socket.At(sk).Full() {
		return m, nil
	}
	return m, e.Host.Socket(sk)
}

func skStorageGet(e *Env, m, sk, value, flags, _ uint64) uint64 {
	sm, s := e.storage(m, sk)
	if s == nil || flags > storageCreate {
		return 0
	}
	return sm.Storage(s, flags == storageCreate, value)
}

func skStorageDelete(e *Env, m, sk, _, _, _ uint64) uint64 {
	sm, s := e.storage(m, sk)
	switch {
	case s != nil:
		return sm.Drop(s).Ret()
	case sk != 0 && (e.Prog.Type == catalog.ProgStructOps || socket.At(sk).Full()):
		return errno.ENOENT.Ret()
	}
	return errno.EINVAL.Ret()
}

// Enter says for which place at a control group programs run from now on; what
// runs by hand begins with zeroes.
func (e *Env) Enter(p maps.GroupPlace) {
	e.Group = p
	for i, b := range e.local {
		if b != nil {
			b.Free()
			e.local[i] = nil
		}
	}
}

// getLocalStorage returns the value of the place the program runs for; there is always one.
func getLocalStorage(e *Env, ptr, _, _, _, _ uint64) uint64 {
	m := maps.Unwrap(e.Host.Map(ptr)) // of no other type: the verifier has seen to it
	if s, ok := m.(interface {
		Value(p maps.GroupPlace, cpu int) uint64
	}); ok && e.Group != (maps.GroupPlace{}) {
		if at := s.Value(e.Group, e.CPU); at != 0 {
			return at
		}
	}
	i := 0
	if m.Def().PerCPU() {
		i = 1
	}
	if e.local[i] == nil {
		b, err := mem.Alloc(m.Def().Stride())
		if err != nil {
			panic("BUG: no memory for a storage: " + err.Error())
		}
		e.local[i] = b
	}
	return e.local[i].Addr()
}
