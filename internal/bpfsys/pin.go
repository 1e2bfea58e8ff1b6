package bpfsys

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/pin"
	"github.com/skep-bpf/skep/internal/run"
)

// pathFD is BPF_F_PATH_FD: a path is relative to path_fd.
const pathFD = 1 << 14

const maxPath = 4096 // PATH_MAX

// Names are where a caller pins objects. Without, it is the system's own tree,
// and paths are absolute.
type Names interface {
	Pin(dir int32, path string, o pin.Object) errno.Errno
	// Get returns an object with a reference for the caller.
	Get(dir int32, path string) (pin.Object, errno.Errno)
}

// AtCWD stands for the caller's working directory (AT_FDCWD).
const AtCWD = -100

func (c *call) pinArgs(a *objPin, flags uint32) (dir int32, path string, e errno.Errno) {
	if a.FileFlags&^(flags|pathFD) != 0 || a.FileFlags&pathFD == 0 && a.PathFd != 0 {
		return 0, "", errno.EINVAL
	}
	dir = AtCWD
	if a.FileFlags&pathFD != 0 {
		dir = a.PathFd
	}
	return dir, "", 0
}

// objPin follows bpf_obj_pin.
func (c *call) objPin() (int32, errno.Errno) {
	a := as[objPin](&c.attr)
	dir, _, e := c.pinArgs(a, 0)
	if e != 0 {
		return 0, e
	}
	f, e := c.who.Files.File(a.BpfFd)
	if e != 0 || f == nil {
		return 0, errno.EINVAL
	}
	defer f.Put()
	o := f.object
	switch x := o.(type) {
	case Map:
		o = Map{maps.Unwrap(x.Map), x.m} // a name has no access rights of its own
	case *run.Program, *Link:
	default:
		return 0, errno.EINVAL
	}
	path, ok := c.readString(a.Pathname, maxPath)
	if !ok {
		return 0, errno.EFAULT
	}
	if c.who.Names != nil {
		return 0, c.who.Names.Pin(dir, path, o)
	}
	return 0, asNumber(c.s.pins.Pin(path, o))
}

// objGet follows bpf_obj_get.
func (c *call) objGet() (int32, errno.Errno) {
	a := as[objPin](&c.attr)
	const access = catalog.FlagRdonly | catalog.FlagWronly
	dir, _, e := c.pinArgs(a, access)
	if e != 0 || a.BpfFd != 0 {
		return 0, errno.EINVAL
	}
	if a.FileFlags&access == access {
		return 0, errno.EINVAL
	}
	path, ok := c.readString(a.Pathname, maxPath)
	if !ok {
		return 0, errno.EFAULT
	}
	if path == "" {
		return 0, errno.ENOENT
	}
	var o pin.Object
	if c.who.Names != nil {
		if o, e = c.who.Names.Get(dir, path); e != 0 {
			return 0, e
		}
	} else {
		got, err := c.s.pins.Get(path)
		if err != nil {
			return 0, numberOf(err)
		}
		o = got
	}
	if m, ok := o.(Map); ok {
		view, err := maps.Open(m.Map, a.FileFlags)
		if err != nil {
			o.Close()
			return 0, numberOf(err)
		}
		o = Map{view, c.s.m}
	} else if _, link := o.(*Link); a.FileFlags&catalog.FlagWronly != 0 || link && a.FileFlags&access != 0 {
		o.Close()
		return 0, errno.EINVAL // programs are opened to read and write, links to do both
	}
	return c.install(o)
}
