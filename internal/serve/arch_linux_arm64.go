package serve

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// 32-bit programs have numbers of their own, and structs: they are told that there is no bpf(2).
const (
	compatArch = unix.AUDIT_ARCH_ARM
	compatBPF  = 386
)

var olderPathCalls []pathCall

var olderCalls []watch

const sysRenameat2 = unix.SYS_RENAMEAT2
const sysNewfstatat = unix.SYS_FSTATAT
