package serve

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var olderPathCalls []pathCall

var olderCalls []watch

const sysRenameat2 = unix.SYS_RENAMEAT2
const sysNewfstatat = unix.SYS_FSTATAT
