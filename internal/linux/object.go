package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// Kind is a kind of objects that have ids.
type Kind uint8

// Kinds of objects.
const (
	KindProg Kind = iota
	KindMap
	KindBTF
	KindLink
)

// kinds holds, by kind, its name, what /proc calls its descriptors, and the
// commands that walk and open its ids.
var kinds = [...]struct {
	name, inode  string
	next, openID command
}{
	KindProg: {"prog", "bpf-prog", cmdProgNextID, cmdProgByID},
	KindMap:  {"map", "bpf-map", cmdMapNextID, cmdMapByID},
	KindBTF:  {"btf", "btf", cmdBTFNextID, cmdBTFByID},
	KindLink: {"link", "bpf-link", cmdLinkNextID, cmdLinkByID},
}

// String returns the kind's name as bpftool has it.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].name
	}
	return "unknown"
}

// Object is a descriptor of a program, map, BTF or link, whoever made it.
type Object struct {
	fd   int
	kind Kind
}

type idAttr struct{ id, next, flags, token uint32 }

// NextID returns the id after id of a kind; 0 gives the first. errno.ENOENT: there is none.
func NextID(k Kind, id uint32) (uint32, error) {
	attr := idAttr{id: id}
	_, err := bpf(kinds[k].next, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return attr.next, err
}

// OpenID opens the object with an id.
func OpenID(k Kind, id uint32) (*Object, error) {
	attr := idAttr{id: id}
	fd, err := bpf(kinds[k].openID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	return &Object{fd, k}, nil
}

type pinAttr struct {
	path      unsafe.Pointer
	fd, flags uint32
	pathFD    uint32
	_         uint32
}

// OpenPinned opens the object of a name in a BPF file system.
func OpenPinned(path string) (*Object, error) {
	name := append([]byte(path), 0)
	attr := pinAttr{path: unsafe.Pointer(&name[0])}
	fd, err := bpf(cmdObjGet, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		closeFD(fd)
		return nil, err
	}
	for k, row := range kinds {
		if strings.Contains(link, row.inode) {
			return &Object{fd, Kind(k)}, nil
		}
	}
	closeFD(fd)
	return nil, fmt.Errorf("%s: neither program, map nor link: %s", path, link)
}

// Pin gives a descriptor's object a name in a BPF file system.
func Pin(fd int, path string) error {
	name := append([]byte(path), 0)
	attr := pinAttr{path: unsafe.Pointer(&name[0]), fd: uint32(fd)}
	_, err := bpf(cmdObjPin, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// FD returns the descriptor, which stays the object's own.
func (o *Object) FD() int { return o.fd }

// Kind returns the object's kind.
func (o *Object) Kind() Kind { return o.kind }

// Close drops the descriptor.
func (o *Object) Close() error { return closeFD(o.fd) }

// Prog asks about a program.
func (o *Object) Prog() (*ProgInfo, error) { return progInfoOf(o.fd) }

// Native asks for a program's machine code; nil: there is none to be had.
func (o *Object) Native() (*Native, error) { return nativeOf(o.fd) }

// Map asks about a map.
func (o *Object) Map() (*MapInfo, error) { return mapInfoOf(o.fd) }

// Link asks about a link.
func (o *Object) Link() (*LinkInfo, error) { return linkInfoOf(o.fd) }

// BTF asks about types.
func (o *Object) BTF() (*BTFInfo, error) {
	info, _, err := btfInfoOf(o.fd, false)
	return info, err
}

// Types returns the types themselves, as they lie in a file.
func (o *Object) Types() (*BTFInfo, []byte, error) { return btfInfoOf(o.fd, true) }

// AsMap returns the map for reading and changing. It is the object's descriptor
// still: closing one closes the other.
func (o *Object) AsMap() *Map { return &Map{fd: o.fd} }

// AsProg returns the program for running it, in the same sense.
func (o *Object) AsProg() *LoadedProg { return &LoadedProg{fd: o.fd} }

// Detach takes a link's program away from its place.
func (o *Object) Detach() error {
	attr := struct{ fd uint32 }{uint32(o.fd)}
	_, err := bpf(cmdLinkDetach, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(o)
	return err
}

// ReadStream takes what a program has written to a stream, 1 or 2, as far as there is
// room for it; 0 bytes: there is nothing.
func (o *Object) ReadStream(stream int, buf []byte) (int, error) {
	attr := struct {
		buf           unsafe.Pointer
		n, id, progFD uint32
		_             uint32
	}{unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)), uint32(stream), uint32(o.fd), 0}
	n, err := bpf(cmdProgStreamRead, unsafe.Pointer(&attr), unsafe.Sizeof(attr)-4)
	runtime.KeepAlive(o)
	return n, err
}

// FDInfo returns what /proc tells of the descriptor, by name: "memlock", "frozen".
func (o *Object) FDInfo() map[string]string {
	fields := map[string]string{}
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", o.fd))
	if err != nil {
		return fields // a hardened system: less is told
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t"); ok {
			fields[name] = value
		}
	}
	return fields
}

// IDs returns the ids of all objects of a kind.
func IDs(k Kind) ([]uint32, error) {
	var ids []uint32
	for id := uint32(0); ; {
		next, err := NextID(k, id)
		if errors.Is(err, errno.ENOENT) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		if id = next; id == 0 {
			return ids, nil
		}
		ids = append(ids, id)
	}
}
