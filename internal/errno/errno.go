// Package errno holds the error numbers that bpf(2), maps and helpers return,
// with Linux's values and words on every platform.
package errno

import "strconv"

// Errno is a Linux error number. It is an error; nil, not Errno(0), is success.
type Errno int32

// The numbers BPF uses (asm-generic/errno-base.h, asm-generic/errno.h, linux/errno.h).
const (
	EPERM           Errno = 1
	ENOENT          Errno = 2
	ESRCH           Errno = 3
	EINTR           Errno = 4
	EIO             Errno = 5
	ENXIO           Errno = 6
	E2BIG           Errno = 7
	EBADF           Errno = 9
	EAGAIN          Errno = 11
	ENOMEM          Errno = 12
	EACCES          Errno = 13
	EFAULT          Errno = 14
	EBUSY           Errno = 16
	EEXIST          Errno = 17
	EXDEV           Errno = 18
	ENODEV          Errno = 19
	ENOTDIR         Errno = 20
	EISDIR          Errno = 21
	EINVAL          Errno = 22
	EMFILE          Errno = 24
	ENOTTY          Errno = 25
	ENOSPC          Errno = 28
	EROFS           Errno = 30
	EDOM            Errno = 33
	ERANGE          Errno = 34
	EDEADLK         Errno = 35
	ENOMSG          Errno = 42
	ENAMETOOLONG    Errno = 36
	ENOSYS          Errno = 38
	ENOTEMPTY       Errno = 39
	ELOOP           Errno = 40
	ENODATA         Errno = 61
	EPROTO          Errno = 71
	EBADMSG         Errno = 74
	EBADFD          Errno = 77
	EOVERFLOW       Errno = 75
	ENOTSOCK        Errno = 88
	EMSGSIZE        Errno = 90
	EPROTOTYPE      Errno = 91
	ENOPROTOOPT     Errno = 92
	EPROTONOSUPPORT Errno = 93
	ESOCKTNOSUPPORT Errno = 94
	EOPNOTSUPP      Errno = 95
	EAFNOSUPPORT    Errno = 97
	EADDRINUSE      Errno = 98
	ENETUNREACH     Errno = 101
	ENETDOWN        Errno = 100
	ENOBUFS         Errno = 105
	ETIMEDOUT       Errno = 110
	EHOSTUNREACH    Errno = 113
	EALREADY        Errno = 114
	ESTALE          Errno = 116
	ENOLINK         Errno = 67
	ENONET          Errno = 64
	EINPROGRESS     Errno = 115
	ENOTSUPP        Errno = 524 // the kernel's internal "not supported"; bpf(2) lets it out
)

var words = map[Errno]struct{ name, text string }{
	EPERM: {"EPERM", "operation not permitted"}, ENOENT: {"ENOENT", "no such file or directory"},
	ESRCH: {"ESRCH", "no such process"}, ENOTTY: {"ENOTTY", "inappropriate ioctl for device"},
	EINTR: {"EINTR", "interrupted system call"}, EIO: {"EIO", "input/output error"},
	ENXIO: {"ENXIO", "no such device or address"}, E2BIG: {"E2BIG", "argument list too long"},
	EBADF: {"EBADF", "bad file descriptor"}, EAGAIN: {"EAGAIN", "resource temporarily unavailable"},
	ENOMEM: {"ENOMEM", "cannot allocate memory"}, EACCES: {"EACCES", "permission denied"},
	EFAULT: {"EFAULT", "bad address"}, EBUSY: {"EBUSY", "device or resource busy"},
	EEXIST: {"EEXIST", "file exists"}, EXDEV: {"EXDEV", "invalid cross-device link"},
	ENODEV: {"ENODEV", "no such device"}, EINVAL: {"EINVAL", "invalid argument"},
	EMFILE: {"EMFILE", "too many open files"}, ENOSPC: {"ENOSPC", "no space left on device"},
	EROFS: {"EROFS", "read-only file system"}, EDOM: {"EDOM", "numerical argument out of domain"},
	ERANGE: {"ERANGE", "numerical result out of range"}, EDEADLK: {"EDEADLK", "resource deadlock avoided"}, ENOMSG: {"ENOMSG", "no message of desired type"},
	ENAMETOOLONG: {"ENAMETOOLONG", "file name too long"}, ENOSYS: {"ENOSYS", "function not implemented"},
	ENOTDIR: {"ENOTDIR", "not a directory"}, EISDIR: {"EISDIR", "is a directory"},
	ENOTEMPTY: {"ENOTEMPTY", "directory not empty"},
	ELOOP:     {"ELOOP", "too many levels of symbolic links"}, ENODATA: {"ENODATA", "no data available"},
	EPROTO: {"EPROTO", "protocol error"}, EBADMSG: {"EBADMSG", "bad message"}, EBADFD: {"EBADFD", "file descriptor in bad state"},
	EOVERFLOW: {"EOVERFLOW", "value too large for defined data type"},
	ENOTSOCK:  {"ENOTSOCK", "socket operation on non-socket"},
	EMSGSIZE:  {"EMSGSIZE", "message too long"}, EPROTOTYPE: {"EPROTOTYPE", "protocol wrong type for socket"},
	ENOPROTOOPT: {"ENOPROTOOPT", "protocol not available"}, EPROTONOSUPPORT: {"EPROTONOSUPPORT", "protocol not supported"},
	ESOCKTNOSUPPORT: {"ESOCKTNOSUPPORT", "socket type not supported"}, EOPNOTSUPP: {"EOPNOTSUPP", "operation not supported"},
	EAFNOSUPPORT: {"EAFNOSUPPORT", "address family not supported by protocol"}, EADDRINUSE: {"EADDRINUSE", "address already in use"},
	ENETUNREACH: {"ENETUNREACH", "network is unreachable"}, ENETDOWN: {"ENETDOWN", "network is down"},
	ENOBUFS: {"ENOBUFS", "no buffer space available"}, ETIMEDOUT: {"ETIMEDOUT", "connection timed out"},
	EHOSTUNREACH: {"EHOSTUNREACH", "no route to host"}, EALREADY: {"EALREADY", "operation already in progress"},
	ESTALE: {"ESTALE", "stale file handle"}, ENOLINK: {"ENOLINK", "link has been severed"}, ENONET: {"ENONET", "machine is not on the network"},
	EINPROGRESS: {"EINPROGRESS", "operation now in progress"}, ENOTSUPP: {"ENOTSUPP", "operation not supported by the kernel"},
}

// Error returns the words a Linux user knows for the number.
func (e Errno) Error() string {
	if w, ok := words[e]; ok {
		return w.text
	}
	return "errno " + strconv.Itoa(int(e))
}

// Name returns the symbol, such as "ENOENT".
func (e Errno) Name() string {
	if w, ok := words[e]; ok {
		return w.name
	}
	return strconv.Itoa(int(e))
}

// Ret returns the number as a helper returns it to a program: negative, in R0.
func (e Errno) Ret() uint64 { return uint64(-int64(e)) }
