package run

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/errno"
)

// mapDump is a map's content at the end of a run.
type mapDump struct {
	*image.Map
	keyType btf.Type
	perCPU  bool
	cpus    int
	count   int     // entries there are
	zero    int     // of an array: entries left out, since they are zero
	entries []entry // the first ones by key, for arrays by index
	note    string  // why there are none to show
	// Of a map that is a way to user space: what came through it, and the type
	// its records are shown by, if one was given.
	events *events
	record btf.Type
}

// entry is an element; a queue's has no key, a map's or program's a name.
type entry struct {
	key, value []byte
	name       string
}

// dump reads the maps that a program can have changed. At most limit entries
// of each are kept, all when it is 0.
func dump(coll engine.Collection, img *image.Image, t *totals, limit int) ([]mapDump, error) {
	var dumps []mapDump
	for _, m := range img.Maps {
		switch m.Kind {
		case image.KindRodata, image.KindKconfig, image.KindStructOps:
			continue
		}
		target := coll.Map(m)
		if target == nil {
			continue
		}
		d := mapDump{Map: m, keyType: keyType(m), perCPU: target.PerCPU(), cpus: target.CPUs(), note: unlisted[m.Type]}
		switch {
		case m.Type == catalog.MapRingBuf || m.Type == catalog.MapPerfEventArray:
			if d.events = t.events[m]; d.events == nil {
				d.events = &events{}
			}
			d.record = t.decode[m]
		case m.Type == catalog.MapQueue || m.Type == catalog.MapStack:
			if err := d.pop(target, limit); err != nil {
				return nil, fmt.Errorf("map %s: %w", m.Name, err)
			}
		case d.note == "":
			if err := d.read(target, limit); err != nil {
				return nil, fmt.Errorf("map %s: %w", m.Name, err)
			}
			d.nameElements(coll, img.ByteOrder)
		}
		dumps = append(dumps, d)
	}
	return dumps, nil
}

// unlisted are the types that have no content by key to show.
var unlisted = map[catalog.MapType]string{
	catalog.MapUserRingBuf:  "events from user space",
	catalog.MapBloomFilter:  "it does not know its elements",
	catalog.MapXSKMap:       "AF_XDP sockets, of which there are none here",
	catalog.MapSkStorage:    "content of sockets",
	catalog.MapInodeStorage: "content of inodes",
	catalog.MapTaskStorage:  "content of tasks",
	catalog.MapCGrpStorage:  "content of control groups",
	catalog.MapArena:        "memory shared with user space",
}

// keyType is what keys are shown as: without a type, an array's index is a number.
func keyType(m *image.Map) btf.Type {
	if m.Key != nil || m.KeySize != 4 {
		return m.Key
	}
	switch m.Type {
	case catalog.MapHash, catalog.MapPerCPUHash, catalog.MapLRUHash, catalog.MapLRUPerCPUHash,
		catalog.MapHashOfMaps, catalog.MapSockHash, catalog.MapDevMapHash:
		return nil
	}
	return &btf.Int{Name: "unsigned int", Size: 4}
}

// isArray says whether every key below max_entries exists: zero values are
// then as good as nothing.
func isArray(t catalog.MapType) bool {
	return t == catalog.MapArray || t == catalog.MapPerCPUArray
}

// read walks the map. Of an array it keeps the first entries that are not zero;
// of anything else the first by key, since a hash's own order says nothing and
// differs from run to run.
func (d *mapDump) read(target engine.Map, limit int) error {
	full := func() bool { return limit > 0 && len(d.entries) >= limit }
	var prev []byte
	for {
		key := make([]byte, d.KeySize)
		err := target.NextKey(prev, key)
		if errors.Is(err, errno.ENOENT) {
			return nil
		}
		if err != nil {
			d.note = err.Error()
			return nil
		}
		prev = key
		at := len(d.entries)
		if !isArray(d.Type) {
			at, _ = slices.BinarySearchFunc(d.entries, key, func(e entry, k []byte) int { return bytes.Compare(e.key, k) })
			if full() && at == len(d.entries) {
				d.count++
				continue
			}
		}
		value, err := target.Lookup(key)
		if errors.Is(err, errno.ENOENT) {
			continue // an empty slot of an array of descriptors
		}
		if err != nil {
			return err
		}
		d.count++
		switch {
		case isArray(d.Type) && d.Kind == image.KindDefined && isZero(value):
			d.zero++
			continue
		case full() && at == len(d.entries):
			continue
		case full():
			d.entries = d.entries[:len(d.entries)-1]
		}
		d.entries = slices.Insert(d.entries, at, entry{key: key, value: value})
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// pop empties a queue or a stack: the run is over.
func (d *mapDump) pop(target engine.Map, limit int) error {
	for {
		value, err := target.Pop()
		if errors.Is(err, errno.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.count++; limit == 0 || len(d.entries) < limit {
			d.entries = append(d.entries, entry{value: value})
		}
	}
}

// nameElements finds what the elements of a map of programs or maps are called:
// a lookup gives their ids.
func (d *mapDump) nameElements(coll engine.Collection, order binary.ByteOrder) {
	switch d.Type {
	case catalog.MapProgArray, catalog.MapArrayOfMaps, catalog.MapHashOfMaps:
	default:
		return
	}
	for i := range d.entries {
		if e := &d.entries[i]; len(e.value) == 4 {
			id := order.Uint32(e.value)
			if e.name = coll.NameOf(d.Map, id); e.name == "" {
				e.name = fmt.Sprintf("id %d", id)
			}
		}
	}
}

// hidden is how many entries are not shown, those of zero apart.
func (d *mapDump) hidden() int { return d.count - d.zero - len(d.entries) }
