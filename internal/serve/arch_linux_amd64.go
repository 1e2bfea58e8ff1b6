package serve

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// 32-bit programs have numbers of their own, and structs: they are told that there is no bpf(2).
const (
	compatArch = unix.AUDIT_ARCH_I386
	compatBPF  = 357
)

// olderPathCalls are those that amd64 alone has.
var olderPathCalls = []pathCall{
	{nr: unix.SYS_OPEN, dir: -1, opens: true},
	{nr: unix.SYS_STAT, dir: -1, out: 1, size: sizeofStat},
	{nr: unix.SYS_LSTAT, dir: -1, out: 1, size: sizeofStat},
	{nr: unix.SYS_ACCESS, dir: -1},
	{nr: unix.SYS_MKDIR, dir: -1, makes: true},
	{nr: unix.SYS_RMDIR, dir: -1, removes: true},
	{nr: unix.SYS_UNLINK, dir: -1},
	{nr: unix.SYS_RENAME, dir: -1, to: 1},
	{nr: unix.SYS_CHMOD, dir: -1},
}

// olderCalls are other calls that amd64 alone has.
var olderCalls = []watch{
	{nr: unix.SYS_READLINK, do: func(c *client, n *notif) answer { return c.readlink(n, 0) }},
	{nr: unix.SYS_SYMLINK, do: func(c *client, n *notif) answer {
		n.Args[1], n.Args[2] = atCWD, n.Args[1]
		return c.pathCall(&symlinkRow, n)
	}},
}

const sysRenameat2 = unix.SYS_RENAMEAT2
const sysNewfstatat = unix.SYS_NEWFSTATAT
