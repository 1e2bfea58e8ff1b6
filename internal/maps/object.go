package maps

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Identity says which task, inode or control group something is.
type Identity struct {
	Kind catalog.MapOwners
	ID   uint64 // the task's, the inode's or the group's number
	Dev  uint64 // of an inode: the device it is on
}

// Object is a task, an inode or a control group, as far as maps know it: that it
// is the same one as before, and that it has ended.
type Object struct {
	Identity
	// Born tells two objects apart that had the same number one after the other: a task's start.
	Born uint64

	table  *Objects
	number uint32
	users  int // under the table's lock, like all below
	ended  bool
	holds  map[any]func()
}

// Objects are a machine's objects that somebody uses or keeps a value with. The zero value is ready to use.
type Objects struct {
	mu     sync.Mutex
	all    map[Identity]*Object
	number map[uint32]*Object
	last   uint32
	sweep  int // how many there are when the next look is taken at who is alive
}

// numbered is set in an object's number, so that nothing takes it for what the
// object is called elsewhere.
const numbered uint32 = 1 << 31

// Ended is the number of what has ended: a task that is no more.
const Ended = numbered

// Get returns an object, for its user to Put. One of the same number that was born at another time has
// ended; born 0: nobody asks.
func (t *Objects) Get(id Identity, born uint64) *Object {
	t.clean()
	t.mu.Lock()
	o := t.all[id]
	if o != nil && o.Born == 0 {
		o.Born = born
	}
	if o != nil && born != 0 && o.Born != born {
		t.mu.Unlock()
		t.End(id)
		t.mu.Lock()
		o = t.all[id]
	}
	defer t.mu.Unlock()
	if o == nil {
		if t.all == nil {
			t.all, t.number = map[Identity]*Object{}, map[uint32]*Object{}
		}
		for o = (&Object{Identity: id, Born: born, table: t}); o.number == 0 || t.number[o.number] != nil; {
			t.last++
			o.number = t.last | numbered
		}
		t.all[id], t.number[o.number] = o, o
	}
	o.users++
	return o
}

// clean ends tasks that are no more, each time the table has doubled: nobody tells of their end.
func (t *Objects) clean() {
	const first = 64
	t.mu.Lock()
	if len(t.all) < max(t.sweep, first) {
		t.mu.Unlock()
		return
	}
	var dead []Identity
	for id, o := range t.all {
		if !taskAlive(o) {
			dead = append(dead, id)
		}
	}
	t.sweep = 2 * (len(t.all) - len(dead))
	t.mu.Unlock()
	for _, id := range dead {
		t.End(id)
	}
}

// Number is what maps know the object by, as long as it is used or held.
func (o *Object) Number() uint32 { return o.number }

// Put ends a use.
func (o *Object) Put() {
	o.table.mu.Lock()
	o.users--
	o.table.drop(o)
	o.table.mu.Unlock()
}

// drop forgets an object that nobody uses. The caller holds t.mu.
func (t *Objects) drop(o *Object) {
	if o.users > 0 || len(o.holds) > 0 {
		return
	}
	if t.number[o.number] == o {
		delete(t.number, o.number)
	}
	if t.all[o.Identity] == o {
		delete(t.all, o.Identity)
	}
}

// ByNumber returns the object of a kind that a number names, for its user to Put:
// its [Object.Number], or what it is called elsewhere where that is less than 2³¹, a
// task's pid. ENOENT: it was there once; EBADF: there is none.
func (t *Objects) ByNumber(kind catalog.MapOwners, n uint32) (*Object, error) {
	switch {
	case n == Ended:
		return nil, errno.ENOENT
	case n == 0:
		return nil, errno.EBADF
	case n&numbered == 0:
		return t.Get(Identity{Kind: kind, ID: uint64(n)}, 0), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.number[n]
	if o == nil || o.Kind != kind {
		return nil, errno.EBADF
	}
	o.users++
	return o, nil
}

// End has everybody let go of an object that is no longer there.
func (t *Objects) End(id Identity) {
	t.mu.Lock()
	o := t.all[id]
	if o == nil {
		t.mu.Unlock()
		return
	}
	delete(t.all, id)
	o.ended = true
	holds := o.holds
	o.holds = nil
	t.drop(o)
	t.mu.Unlock()
	for _, drop := range holds {
		drop()
	}
}

// Hold registers who keeps something with the object ([Owner]).
func (o *Object) Hold(who any, drop func()) bool {
	o.table.mu.Lock()
	defer o.table.mu.Unlock()
	if o.ended {
		return false
	}
	if o.holds == nil {
		o.holds = map[any]func(){}
	}
	o.holds[who] = drop
	return true
}

// Forget takes Hold back.
func (o *Object) Forget(who any) {
	o.table.mu.Lock()
	defer o.table.mu.Unlock()
	delete(o.holds, who)
	o.table.drop(o)
}
