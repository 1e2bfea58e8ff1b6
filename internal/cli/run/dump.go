package run

import (
	"bytes"
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

type entry struct{ key, value []byte }

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
		d := mapDump{Map: m, perCPU: target.PerCPU(), cpus: target.CPUs(), note: unlisted[m.Type]}
		switch {
		case m.Type == catalog.MapRingBuf || m.Type == catalog.MapPerfEventArray:
			if d.events = t.events[m]; d.events == nil {
				d.events = &events{}
			}
			d.record = t.decode[m]
		case d.note == "":
			if err := d.read(target, limit); err != nil {
				return nil, fmt.Errorf("map %s: %w", m.Name, err)
			}
		}
		dumps = append(dumps, d)
	}
	return dumps, nil
}

// unlisted are the types that have no content by key to show.
var unlisted = map[catalog.MapType]string{
	catalog.MapUserRingBuf:  "events from user space",
	catalog.MapQueue:        "elements leave it when they are read",
	catalog.MapStack:        "elements leave it when they are read",
	catalog.MapBloomFilter:  "it does not know its elements",
	catalog.MapStackTrace:   "stack traces",
	catalog.MapSkStorage:    "content of sockets",
	catalog.MapInodeStorage: "content of inodes",
	catalog.MapTaskStorage:  "content of tasks",
	catalog.MapCGrpStorage:  "content of control groups",
	catalog.MapArena:        "memory shared with user space",
	catalog.MapProgArray:    "programs",
	catalog.MapArrayOfMaps:  "maps",
	catalog.MapHashOfMaps:   "maps",
}

// isArray says whether every key below max_entries exists: zero values are
// then as good as nothing.
func isArray(t catalog.MapType) bool {
	return t == catalog.MapArray || t == catalog.MapPerCPUArray
}

func (d *mapDump) read(target engine.Map, limit int) error {
	var prev []byte
	for {
		key := make([]byte, d.KeySize)
		err := target.NextKey(prev, key)
		if errors.Is(err, errno.ENOENT) {
			break
		}
		if err != nil {
			d.note = err.Error()
			return nil
		}
		prev = key
		value, err := target.Lookup(key)
		if errors.Is(err, errno.ENOENT) {
			continue // an empty slot of an array of descriptors
		}
		if err != nil {
			return err
		}
		d.count++
		if isArray(d.Type) && d.Kind == image.KindDefined && len(bytes.Trim(value, "\x00")) == 0 {
			d.zero++
			continue
		}
		d.entries = append(d.entries, entry{key, value})
	}
	if !isArray(d.Type) {
		// A hash's own order says nothing and differs from run to run.
		slices.SortFunc(d.entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	}
	if limit > 0 {
		d.entries = d.entries[:min(limit, len(d.entries))]
	}
	return nil
}

// hidden is how many entries are not shown, those of zero apart.
func (d *mapDump) hidden() int { return d.count - d.zero - len(d.entries) }
