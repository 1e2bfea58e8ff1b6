// Package pin is the named registry of a Machine: maps, programs and links
// under paths, kept alive by their names (bpffs, kernel/bpf/inode.c).
//
// It is a tree in memory. Names, errors and references are those of a BPF file
// system: a name holds a reference, so that an object outlives whoever made
// it, and gives it back when it is removed.
package pin

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/skep-bpf/skep/internal/errno"
)

// Object is what can be pinned: a map, a program, a link.
type Object interface {
	// Acquire takes a reference, Close gives one back.
	Acquire()
	Close()
}

// Mount is where a BPF file system is mounted by custom.
const Mount = "/sys/fs/bpf"

// FS is one tree of names. All methods are safe for concurrent use. Errors are
// errno.Errno values.
type FS struct {
	mount string
	mu    sync.Mutex
	root  *node
}

// node is a directory, or a name with an object.
type node struct {
	object Object           // nil: a directory
	names  map[string]*node // of a directory
}

// New makes an empty tree whose paths begin with mount; "" means [Mount].
func New(mount string) *FS {
	if mount == "" {
		mount = Mount
	}
	return &FS{mount: path.Clean("/" + mount), root: newDir()}
}

func newDir() *node { return &node{names: make(map[string]*node)} }

// split returns the names a path consists of. EPERM says that it leads out of the tree.
func (f *FS) split(p string) ([]string, errno.Errno) {
	p = path.Clean("/" + p)
	rest, inside := strings.CutPrefix(p, f.mount)
	if !inside || rest != "" && rest[0] != '/' && f.mount != "/" {
		return nil, errno.EPERM
	}
	return strings.FieldsFunc(rest, func(r rune) bool { return r == '/' }), 0
}

// find walks to a node. Names with dots are reserved: EPERM (bpf_lookup).
func (f *FS) find(names []string) (*node, errno.Errno) {
	n := f.root
	for _, name := range names {
		if n.names == nil {
			return nil, errno.ENOTDIR
		}
		if e := nameOK(name); e != 0 {
			return nil, e
		}
		next := n.names[name]
		if next == nil {
			return nil, errno.ENOENT
		}
		n = next
	}
	return n, 0
}

// parent returns the directory a path lies in and its last name.
func (f *FS) parent(p string) (*node, string, errno.Errno) {
	names, e := f.split(p)
	if e != 0 {
		return nil, "", e
	}
	if len(names) == 0 {
		return nil, "", errno.EEXIST // the root is always there
	}
	dir, e := f.find(names[:len(names)-1])
	if e == 0 && dir.names == nil {
		e = errno.ENOTDIR
	}
	return dir, names[len(names)-1], e
}

// nameOK checks the last name of a path.
func nameOK(name string) errno.Errno {
	switch {
	case strings.Contains(name, "."):
		return errno.EPERM
	case len(name) > maxName:
		return errno.ENAMETOOLONG
	}
	return 0
}

// place is parent with the name checked.
func (f *FS) place(p string) (*node, string, errno.Errno) {
	dir, name, e := f.parent(p)
	if e == 0 {
		e = nameOK(name)
	}
	return dir, name, e
}

// maxName is the longest name, in bytes (NAME_MAX).
const maxName = 255

// create puts a node at a free path.
func (f *FS) create(p string, n *node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, name, e := f.place(p)
	if e != 0 {
		return e
	}
	if dir.names[name] != nil {
		return errno.EEXIST
	}
	dir.names[name] = n
	return nil
}

// Pin gives an object a name, which takes a reference (BPF_OBJ_PIN).
func (f *FS) Pin(p string, o Object) error {
	o.Acquire()
	if err := f.create(p, &node{object: o}); err != nil {
		o.Close()
		return err
	}
	return nil
}

// Mkdir makes a directory.
func (f *FS) Mkdir(p string) error { return f.create(p, newDir()) }

// Get returns the object a path names, with a reference for the caller
// (BPF_OBJ_GET); a directory is EACCES.
func (f *FS) Get(p string) (Object, error) {
	names, e := f.split(p)
	if e != 0 {
		return nil, errno.EACCES // some other file: not a pinned object
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, e := f.find(names)
	if e != 0 {
		return nil, e
	}
	if n.object == nil {
		return nil, errno.EACCES
	}
	n.object.Acquire()
	return n.object, nil
}

// Remove takes a name away (unlink(2)), or an empty directory (rmdir(2)).
func (f *FS) Remove(p string) error {
	f.mu.Lock()
	dir, name, e := f.place(p)
	var n *node
	if e == 0 {
		switch n = dir.names[name]; {
		case n == nil:
			e = errno.ENOENT
		case len(n.names) != 0:
			e = errno.ENOTEMPTY
		default:
			delete(dir.names, name)
		}
	}
	f.mu.Unlock()
	if e != 0 {
		return e
	}
	if n.object != nil {
		n.object.Close()
	}
	return nil
}

// Rename moves a name or directory, over an existing name or empty directory of its kind.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	old, e := f.rename(from, to)
	f.mu.Unlock()
	if e != 0 {
		return e
	}
	if old != nil && old.object != nil {
		old.object.Close()
	}
	return nil
}

// rename returns the node that was replaced.
func (f *FS) rename(from, to string) (*node, errno.Errno) {
	src, name, e := f.parent(from)
	if e != 0 {
		return nil, e
	}
	dst, newName, e := f.parent(to)
	if e == 0 {
		e = nameOK(name)
	}
	if e == 0 && src.names[name] == nil {
		e = errno.ENOENT
	}
	if e == 0 {
		e = nameOK(newName)
	}
	if e != 0 {
		return nil, e
	}
	n, old := src.names[name], dst.names[newName]
	switch {
	case n == old:
		return nil, 0
	case n.object == nil && n.holds(dst):
		return nil, errno.EINVAL // a directory cannot move into itself
	case old != nil && old.object == nil && old.holds(src):
		return nil, errno.ENOTEMPTY // nor over one it lies in
	case old != nil && n.object == nil && old.object != nil:
		return nil, errno.ENOTDIR
	case old != nil && n.object != nil && old.object == nil:
		return nil, errno.EISDIR
	case old != nil && len(old.names) != 0:
		return nil, errno.ENOTEMPTY
	}
	delete(src.names, name)
	dst.names[newName] = n
	return old, 0
}

// holds reports whether other is n or lies below it.
func (n *node) holds(other *node) bool {
	if n == other {
		return true
	}
	for _, below := range n.names {
		if below.holds(other) {
			return true
		}
	}
	return false
}

// Entry is one name in a directory.
type Entry struct {
	Name   string
	Object Object // nil: a directory; borrowed
}

// List returns the names in a directory, sorted.
func (f *FS) List(p string) ([]Entry, error) {
	names, e := f.split(p)
	if e != 0 {
		return nil, e
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, e := f.find(names)
	if e != 0 {
		return nil, e
	}
	if n.names == nil {
		return nil, errno.ENOTDIR
	}
	list := make([]Entry, 0, len(n.names))
	for name, below := range n.names {
		list = append(list, Entry{name, below.object})
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Close removes everything, as an unmount does.
func (f *FS) Close() {
	f.mu.Lock()
	root := f.root
	f.root = newDir()
	f.mu.Unlock()
	root.close()
}

func (n *node) close() {
	if n.object != nil {
		n.object.Close()
	}
	for _, below := range n.names {
		below.close()
	}
}
