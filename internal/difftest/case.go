// Package difftest runs one program on every engine: the interpreter in both
// modes, and the Linux kernel where it lets us. A [Case] names the
// program, what it finds and what it must leave; docs/testing.md describes the
// text form.
package difftest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// Case is one program with its input and its expected outcome.
type Case struct {
	Name   string
	Type   catalog.ProgType
	Attach catalog.AttachType
	Flags  uint32 // BPF_F_* of the load
	Insns  []isa.Instruction
	Maps   []*Map
	Tails  []Tail

	Packet []byte            // what the program is run on
	Ctx    map[string]uint64 // context fields that differ from the test run's default

	R0      uint64            // expected; engines that return 32 bits are held against the low half
	HasR0   bool              // else any
	Out     []byte            // expected packet; nil: not looked at
	WantCtx map[string]uint64 // expected context fields

	// Refused is part of the verifier's log when the program must not load.
	Refused string
	// NotLinux says why the kernel is not asked, "" if it is.
	NotLinux string

	// Part says that the case is only there for others' @tail.
	Part bool

	verdict *verdict       // kept for the next engine
	regs    []isa.Register // those @regs fills, in the order of its values
}

// Map is a map of a case. Keys and values are bytes as programs see them; a
// per-CPU value stands for the one of the CPU the program runs on.
type Map struct {
	Def  catalog.MapDef
	Put  []Entry
	Want []Entry // must be there afterwards
	Gone [][]byte
}

// Entry is one element of a map.
type Entry struct{ Key, Value []byte }

// Tail is a program in a program array of the case: that of another case, which
// works on the same maps, or the case's own.
type Tail struct {
	Map  string
	Key  []byte
	Name string
	Case *Case // set when all cases of the file are known
}

// Load reads the cases of all files that match the pattern.
func Load(pattern string) ([]*Case, error) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("difftest: no files like %s (%v)", pattern, err)
	}
	var all []*Case
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		cases, err := Parse(f, text)
		if err != nil {
			return nil, err
		}
		all = append(all, cases...)
	}
	return all, nil
}

// Parse reads cases from a txtar archive: one file per case, named after it.
func Parse(file string, text []byte) ([]*Case, error) {
	var cases []*Case
	line := 1 + strings.Count(string(txtar.Parse(text).Comment), "\n")
	for _, f := range txtar.Parse(text).Files {
		line++ // the marker
		c, err := parseCase(fmt.Sprintf("%s (%s, from line %d)", file, f.Name, line), f.Name, string(f.Data))
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
		line += strings.Count(string(f.Data), "\n")
	}
	for _, c := range cases {
		for i := range c.Tails {
			tail := &c.Tails[i]
			at := slices.IndexFunc(cases, func(o *Case) bool { return o.Name == tail.Name })
			if at < 0 {
				return nil, fmt.Errorf("%s (%s): @tail: no case %q", file, c.Name, tail.Name)
			}
			tail.Case = cases[at]
		}
	}
	return cases, nil
}

// directive gives a case what one @word line says.
type directive func(c *Case, rest string) error

var directives = map[string]directive{
	"prog":    (*Case).parseProg,
	"flags":   func(c *Case, s string) (err error) { c.Flags, err = parse32(s); return err },
	"map":     (*Case).parseMap,
	"put":     func(c *Case, s string) error { return c.entry(s, func(m *Map, e Entry) { m.Put = append(m.Put, e) }) },
	"want":    func(c *Case, s string) error { return c.entry(s, func(m *Map, e Entry) { m.Want = append(m.Want, e) }) },
	"gone":    (*Case).parseGone,
	"packet":  func(c *Case, s string) (err error) { c.Packet, err = parseHex(s); return err },
	"out":     func(c *Case, s string) (err error) { c.Out, err = parseHex(s); return err },
	"ctx":     func(c *Case, s string) error { return parseFields(s, c.Ctx) },
	"wantctx": func(c *Case, s string) error { return parseFields(s, c.WantCtx) },
	"regs":    (*Case).parseRegs,
	"r0":      func(c *Case, s string) (err error) { c.HasR0 = true; c.R0, err = parseNumber(s); return err },
	"refused": func(c *Case, s string) error { c.Refused = s; return nil },
	"tail":    (*Case).parseTail,
	"part":    func(c *Case, _ string) error { c.Part = true; return nil },
	"nolinux": func(c *Case, s string) error { c.NotLinux = s; return nil },
}

func parseCase(where, name, text string) (*Case, error) {
	c := &Case{
		Name: name, Type: catalog.ProgXDP, Packet: make([]byte, 64),
		Ctx: map[string]uint64{}, WantCtx: map[string]uint64{},
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		word, rest, _ := strings.Cut(strings.TrimSpace(l), " ")
		if !strings.HasPrefix(word, "@") {
			continue
		}
		d := directives[word[1:]]
		if d == nil {
			return nil, fmt.Errorf("%s: line %d: no directive %s", where, i+1, word)
		}
		if err := d(c, strings.TrimSpace(rest)); err != nil {
			return nil, fmt.Errorf("%s: line %d: %s: %w", where, i+1, word, err)
		}
		lines[i] = ""
	}
	insns, err := isa.Assemble(where, strings.Join(lines, "\n"), c.symbols())
	if err != nil {
		return nil, err
	}
	c.Insns = append(c.loadRegs(), insns...)
	return c, nil
}

// argsMap is the map that @regs values are loaded from.
const argsMap = "args"

// parseRegs reads "r1=5 r2=-1": values in registers that no verifier knows,
// since they come from a map.
func (c *Case) parseRegs(s string) error {
	args := &Map{Def: catalog.MapDef{Name: argsMap, Type: catalog.MapArray, KeySize: 4, MaxEntries: 1}}
	var value []byte
	for _, w := range strings.Fields(s) {
		name, val, _ := strings.Cut(w, "=")
		n, err := strconv.Atoi(strings.TrimPrefix(name, "r"))
		if err != nil || n < 0 || n > 9 {
			return fmt.Errorf("no register %q", name)
		}
		v, err := parseNumber(val)
		if err != nil {
			return err
		}
		c.regs = append(c.regs, isa.Register(n))
		value = binary.LittleEndian.AppendUint64(value, v)
	}
	args.Def.ValueSize = uint32(len(value))
	args.Put = []Entry{{make([]byte, 4), value}}
	c.Maps = append(c.Maps, args)
	return nil
}

// loadRegs is the code in front of the case's own that fills its registers; R0
// holds the address meanwhile and is filled last.
func (c *Case) loadRegs() []isa.Instruction {
	if c.regs == nil {
		return nil
	}
	index := slices.IndexFunc(c.Maps, func(m *Map) bool { return m.Def.Name == argsMap })
	code := isa.Program(isa.LdMapIdxValue(isa.R0, int32(index), 0))
	last := -1
	for i, r := range c.regs {
		if r == isa.R0 {
			last = i
			continue
		}
		code = append(code, isa.LoadMem(isa.DW, r, isa.R0, int16(8*i)))
	}
	if last >= 0 {
		code = append(code, isa.LoadMem(isa.DW, isa.R0, isa.R0, int16(8*last)))
	}
	return code
}

// symbols lets a program name helpers, and maps by what @map called them.
func (c *Case) symbols() isa.Symbols {
	return isa.Symbols{
		Helper: func(name string) (int32, bool) {
			h := catalog.HelperByName(name)
			if h == nil {
				return 0, false
			}
			return int32(h.ID), true
		},
		Map: func(kind, name string) (int32, bool) {
			for i, m := range c.Maps {
				if m.Def.Name == name && strings.HasPrefix(kind, "map_idx") {
					return int32(i), true
				}
			}
			return 0, false
		},
	}
}

// parseProg reads "type" or "type attach-number".
func (c *Case) parseProg(s string) error {
	name, attach, _ := strings.Cut(s, " ")
	k := catalog.ProgKindByName(name)
	if k == nil {
		return fmt.Errorf("no program type %q", name)
	}
	c.Type = k.Type
	if attach == "" {
		return nil
	}
	n, err := parse32(attach)
	c.Attach = catalog.AttachType(n)
	return err
}

// parseMap reads "name type key=4 value=8 entries=1 flags=0 extra=0 lock=0 timer=8 inner=name".
func (c *Case) parseMap(s string) error {
	words := strings.Fields(s)
	if len(words) < 2 {
		return fmt.Errorf("want a name and a type")
	}
	kind := catalog.MapKindByName(words[1])
	if kind == nil {
		return fmt.Errorf("no map type %q", words[1])
	}
	m := &Map{Def: catalog.MapDef{Name: words[0], Type: kind.Type}}
	for _, w := range words[2:] {
		key, val, _ := strings.Cut(w, "=")
		if key == "inner" {
			inner := c.mapByName(val)
			if inner == nil {
				return fmt.Errorf("no map %q above", val)
			}
			m.Def.Inner = &inner.Def
			continue
		}
		n, err := parseNumber(val)
		if err != nil {
			return err
		}
		switch key {
		case "key":
			m.Def.KeySize = uint32(n)
		case "value":
			m.Def.ValueSize = uint32(n)
		case "entries":
			m.Def.MaxEntries = uint32(n)
		case "flags":
			m.Def.Flags = uint32(n)
		case "extra":
			m.Def.Extra = n
		case "lock":
			m.Def.Special = append(m.Def.Special, catalog.SpecialField{Kind: catalog.SpecialSpinLock, Off: uint32(n), Size: 4})
		case "timer":
			m.Def.Special = append(m.Def.Special, catalog.SpecialField{Kind: catalog.SpecialTimer, Off: uint32(n), Size: 16})
		default:
			return fmt.Errorf("no attribute %q", key)
		}
	}
	if m.Def.Special != nil {
		m.Def.Key, m.Def.Value = types(&m.Def)
	}
	c.Maps = append(c.Maps, m)
	return nil
}

// types makes the BTF that tells the kernel of a value's special fields.
func types(def *catalog.MapDef) (key, value btf.Type) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	byteType := &btf.Int{Name: "unsigned char", Size: 1}
	v := &btf.Struct{Name: "value", Size: def.ValueSize}
	pad := func(from, to uint32) {
		if to > from {
			v.Members = append(v.Members, btf.Member{
				Name: fmt.Sprintf("b%d", from), Offset: btf.Bits(8 * from),
				Type: &btf.Array{Index: u32, Type: byteType, Nelems: to - from},
			})
		}
	}
	at := uint32(0)
	for _, f := range def.Special {
		pad(at, f.Off)
		name := "bpf_spin_lock"
		inner := btf.Type(u32)
		if f.Kind == catalog.SpecialTimer {
			name = "bpf_timer"
			inner = &btf.Array{Index: u32, Type: &btf.Int{Name: "unsigned long long", Size: 8}, Nelems: 2}
		}
		v.Members = append(v.Members, btf.Member{
			Name: fmt.Sprintf("f%d", f.Off), Offset: btf.Bits(8 * f.Off),
			Type: &btf.Struct{Name: name, Size: f.Size, Members: []btf.Member{{Name: "opaque", Type: inner}}},
		})
		at = f.Off + f.Size
	}
	pad(at, def.ValueSize)
	return &btf.Int{Name: "int", Size: def.KeySize, Encoding: btf.Signed}, v
}

func (c *Case) mapByName(name string) *Map {
	for _, m := range c.Maps {
		if m.Def.Name == name {
			return m
		}
	}
	return nil
}

// entry reads "map key = value"; queues and stacks have an empty key.
func (c *Case) entry(s string, add func(*Map, Entry)) error {
	name, rest, _ := strings.Cut(s, " ")
	m := c.mapByName(name)
	if m == nil {
		return fmt.Errorf("no map %q above", name)
	}
	key, val, ok := strings.Cut(rest, "=")
	if !ok {
		return fmt.Errorf("want key = value")
	}
	k, err := parseHex(key)
	if err != nil {
		return err
	}
	v, err := parseHex(val)
	if err != nil {
		return err
	}
	if len(k) == 0 {
		k = nil
	}
	add(m, Entry{k, v})
	return nil
}

// parseTail reads "map key = case".
func (c *Case) parseTail(s string) error {
	where, name, _ := strings.Cut(s, "=")
	m, key, _ := strings.Cut(strings.TrimSpace(where), " ")
	if c.mapByName(m) == nil {
		return fmt.Errorf("no map %q above", m)
	}
	k, err := parseHex(key)
	c.Tails = append(c.Tails, Tail{Map: m, Key: k, Name: strings.TrimSpace(name)})
	return err
}

func (c *Case) parseGone(s string) error {
	name, key, _ := strings.Cut(s, " ")
	m := c.mapByName(name)
	if m == nil {
		return fmt.Errorf("no map %q above", name)
	}
	k, err := parseHex(key)
	m.Gone = append(m.Gone, k)
	return err
}

// parseHex reads bytes; blanks between them do not matter, and 00*12 is twelve times 00.
func parseHex(s string) ([]byte, error) {
	out := []byte{}
	for _, w := range strings.Fields(s) {
		digits, times, repeated := strings.Cut(w, "*")
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, err
		}
		n := 1
		if repeated {
			if n, err = strconv.Atoi(times); err != nil {
				return nil, err
			}
		}
		for range n {
			out = append(out, b...)
		}
	}
	return out, nil
}

func parseFields(s string, into map[string]uint64) error {
	for _, w := range strings.Fields(s) {
		name, val, _ := strings.Cut(w, "=")
		n, err := parseNumber(val)
		if err != nil {
			return err
		}
		into[name] = n
	}
	return nil
}

// parseNumber reads a number in any base, negative as two's complement.
func parseNumber(s string) (uint64, error) {
	if strings.HasPrefix(s, "-") {
		n, err := strconv.ParseInt(s, 0, 64)
		return uint64(n), err
	}
	return strconv.ParseUint(s, 0, 64)
}

func parse32(s string) (uint32, error) {
	n, err := parseNumber(s)
	if err == nil && n > math.MaxUint32 {
		err = fmt.Errorf("%s does not fit in 32 bits", s)
	}
	return uint32(n), err
}
