package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/socket"
)

// storageFuncs keep values with sockets (net/core/bpf_sk_storage.c).
var storageFuncs = map[catalog.HelperID]Func{
	catalog.FnSkStorageGet:    skStorageGet,
	catalog.FnSkStorageDelete: skStorageDelete,
}

// storageCreate makes the value where there is none (BPF_SK_STORAGE_GET_F_CREATE).
const storageCreate = 1

// storage returns the map whose header lies at ptr and the socket at sk, nil for
// one that is not full, or that is only told of.
func (e *Env) storage(ptr, sk uint64) (*maps.SkStorage, *socket.Socket) {
	m, ok := e.Host.Map(ptr).(*maps.SkStorage)
	if !ok {
		panic("BUG: a socket's storage asked of another map")
	}
	if sk == 0 || !socket.At(sk).Full() {
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
	case sk != 0 && socket.At(sk).Full():
		return errno.ENOENT.Ret()
	}
	return errno.EINVAL.Ret()
}
