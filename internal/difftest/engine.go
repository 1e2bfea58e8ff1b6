package difftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Engine runs cases.
type Engine interface {
	Name() string
	// Available says why the engine cannot be used here.
	Available() error
	// Run loads the case's program and maps and runs it once. A refusal by the
	// verifier is a [*Refusal].
	Run(c *Case) (*Outcome, error)
}

// Engines are all there are: skep's interpreter in checked mode, as users run
// it, and with inlined lookups; its JIT, without and with those, and hardened; and Linux, last.
func Engines() []Engine {
	return []Engine{
		ours{checked: true}, ours{}, ours{checked: true, inline: true},
		ours{native: true}, ours{native: true, inline: true}, ours{native: true, inline: true, hard: true},
		kernel{},
	}
}

// Refusal is a verifier's no.
type Refusal struct{ Log string }

func (r *Refusal) Error() string { return "refused:\n" + r.Log }

// Outcome is what a run left.
type Outcome struct {
	R0 uint64
	// Bits is how many of R0 the engine tells: 32 or 64.
	Bits   int
	Packet []byte
	// Field reads a context field after the run, by its name in the uapi.
	Field func(name string) (uint64, error)
	// Maps are those of the case, in its order, until Close.
	Maps  []store
	Close func()
}

// store is a map as user space sees it, in skep and in the kernel.
type store interface {
	Lookup(key, value []byte, flags uint64) error
	Update(key, value []byte, flags uint64) error
}

// sized is a store and the length of the values it transfers.
type sized struct {
	store
	size int
}

// set puts a program, by the number its engine knows it by, into a program array.
func (o *Outcome) set(c *Case, tail Tail, prog uint32) error {
	i := slices.IndexFunc(c.Maps, func(m *Map) bool { return m.Def.Name == tail.Map })
	if err := o.Maps[i].Update(tail.Key, binary.LittleEndian.AppendUint32(nil, prog), 0); err != nil {
		return fmt.Errorf("@tail %s %x: %w", tail.Map, tail.Key, err)
	}
	return nil
}

// put stores what the case says is in the map before the run.
func put(s sized, m *Map) error {
	for _, e := range m.Put {
		if err := s.Update(e.Key, spread(e.Value, &m.Def, s.size), 0); err != nil {
			return fmt.Errorf("@put %s %x: %w", m.Def.Name, e.Key, err)
		}
	}
	return nil
}

// spread gives every CPU the value of a per-CPU map.
func spread(v []byte, def *catalog.MapDef, size int) []byte {
	if !def.PerCPU() {
		return v
	}
	all := make([]byte, size)
	for at := 0; at < size; at += def.Stride() {
		copy(all[at:], v)
	}
	return all
}

// gather makes one value of all CPUs': the bytes that differ from what @put
// stored there, since only one CPU ran.
func gather(all, before []byte, def *catalog.MapDef) []byte {
	if !def.PerCPU() {
		return all
	}
	n := int(def.ValueSize)
	for at := 0; at < len(all); at += def.Stride() {
		if v := all[at : at+n]; !bytes.Equal(v, before) {
			return v
		}
	}
	return all[:n]
}

// before is what @put stored under a key, or zeroes.
func (m *Map) before(key []byte) []byte {
	for _, e := range m.Put {
		if bytes.Equal(e.Key, key) {
			return e.Value
		}
	}
	return make([]byte, m.Def.ValueSize)
}

// Check says how an outcome differs from what the case wants; nil if it does not.
func (c *Case) Check(o *Outcome) error {
	var wrong []string
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	mask := ^uint64(0) >> (64 - o.Bits)
	if c.HasR0 && o.R0 != c.R0&mask {
		note("R0 = %#x, want %#x", o.R0, c.R0&mask)
	}
	if c.Out != nil && !bytes.Equal(o.Packet, c.Out) {
		note("packet\n\t%x, want\n\t%x", o.Packet, c.Out)
	}
	for name, want := range c.WantCtx {
		if got, err := o.Field(name); err != nil || got != want {
			note("context field %s = %#x (%v), want %#x", name, got, err, want)
		}
	}
	for i, m := range c.Maps {
		s := o.Maps[i].(sized)
		for _, e := range m.Want {
			got := make([]byte, s.size)
			err := s.Lookup(e.Key, got, 0)
			if got = gather(got, m.before(e.Key), &m.Def); err != nil || !bytes.Equal(got, e.Value) {
				note("map %s at %x: %x (%v), want %x", m.Def.Name, e.Key, got, err, e.Value)
			}
		}
		for _, key := range m.Gone {
			if err := s.Lookup(key, make([]byte, s.size), 0); !isErrno(err, errno.ENOENT) {
				note("map %s at %x: %v, want nothing there", m.Def.Name, key, err)
			}
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(wrong, "\n"))
}
