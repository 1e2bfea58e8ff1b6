package verifier_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// A case is a file of a txtar archive in testdata: lines of settings, an empty
// line, and the program as assembly text. Settings:
//
//	prog: xdp                       program type; default socket_filter
//	attach: 33                      expected attach type
//	to: sched_switch                what a tracing program or LSM hook attaches to
//	flags: 4                        BPF_F_*
//	license: none                   default GPL
//	caps: bpf                       the caller has CAP_BPF alone
//	map m: array 4 16 1 [flags]     type, key size, value size, entries
//	map m: array_of_maps 4 4 1 0 0  the last are the inner array's flags
//	map m: array 4 lock 1           a value with a special field, see valueTypes
//	func cb: static (ptr)           the function that starts at label cb, in order of the code
//	refuse: EACCES some words       the verdict; default: accept
//	log: some words                 words the log at level 2 must have
//	pre: r1 = u64 [1, 9]            what is known before, and
//	post: R1=scalar(…)              after: the program is made around them, see state_test.go
//	kernel: accept                  the live kernel's verdict where it is known to differ, with why:
//	kernel: varies                  builds of Linux 6.18 decide one way and the other
//	why: one line
//
// Every case is also loaded into the live kernel, which must agree, unless it
// permits no program of that type. With -update the refuse and post lines are
// written anew from what the kernel says.
type testCase struct {
	name    string
	prog    verifier.Program
	maps    []*catalog.MapDef
	names   []string
	license string
	funcs   []*btf.Func
	labels  []string
	refuse  bool
	no      string
	words   string
	log     []string
	differs bool
	varies  bool
	text    string
	capBPF  bool
	pres    []pre // see state_test.go
	posts   []string
	structs caseStructs // see types_test.go
	btf     []byte      // they and the functions
}

func parseCase(t testing.TB, f txtar.File) *testCase {
	t.Helper()
	head, text, ok := strings.Cut(string(f.Data), "\n\n")
	if !ok {
		head, text = "", string(f.Data)
	}
	c := &testCase{name: f.Name, license: "GPL", text: text}
	c.prog.Type = catalog.ProgSocketFilter
	for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
		if line == "" {
			continue
		}
		key, val, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("bad setting %q", line)
		}
		val = strings.TrimSpace(val)
		words := strings.Fields(key)
		switch words[0] {
		case "prog":
			k := catalog.ProgKindByName(val)
			if k == nil {
				t.Fatalf("no program type %q", val)
			}
			c.prog.Type = k.Type
		case "attach":
			n, err := strconv.Atoi(val)
			if err != nil {
				t.Fatal(err)
			}
			c.prog.Attach = catalog.AttachType(n)
		case "to":
			c.prog.AttachTo = val
		case "flags":
			n, err := strconv.ParseUint(val, 0, 32)
			if err != nil {
				t.Fatal(err)
			}
			c.prog.Flags = uint32(n)
		case "caps":
			c.capBPF = val == "bpf"
		case "license":
			c.license = val
		case "map":
			c.names = append(c.names, words[1])
			c.maps = append(c.maps, parseMap(t, words[1], val))
		case "func":
			c.labels = append(c.labels, words[1])
			c.funcs = append(c.funcs, parseFunc(t, words[1], val))
		case "struct":
			c.structs.declare(words[1], val)
		case "refuse":
			c.refuse = true
			c.no, c.words, _ = strings.Cut(val, " ")
		case "log":
			c.log = append(c.log, val)
		case "pre":
			c.pres = append(c.pres, parsePre(t, val))
		case "post", "taken":
			c.posts = append(c.posts, line)
		case "kernel":
			c.differs, c.varies = true, val == "varies"
		case "why":
		default:
			t.Fatalf("unknown setting %q", line)
		}
	}
	if c.pres != nil {
		c.asState(t)
	}
	c.withTypes(t)
	insns, err := isa.Assemble(f.Name, c.text, isa.Symbols{
		Helper: func(name string) (int32, bool) {
			h := catalog.HelperByName(name)
			if h == nil {
				return 0, false
			}
			return int32(h.ID), true
		},
		Kfunc: func(name string) (int32, int16, bool) {
			var fn *btf.Func
			spec := kernelBTF()
			if spec == nil || spec.TypeByName(name, &fn) != nil {
				return 0, 0, false
			}
			id, err := spec.TypeID(fn)
			return int32(id), 0, err == nil
		},
		Map: func(kind, name string) (int32, bool) {
			for i, n := range c.names {
				if n == name {
					return int32(i), true
				}
			}
			return 0, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.prog.Insns = insns
	c.prog.GPL = c.license == "GPL"
	if len(c.maps) > 0 {
		c.prog.MapByIdx = c.mapByIdx
	}
	c.prog.KernelBTF = kernelBTF()
	if len(c.funcs) > 0 {
		starts := labelSlots(t, c)
		for i, fn := range c.funcs {
			c.prog.Funcs = append(c.prog.Funcs, verifier.FuncInfo{Slot: starts[c.labels[i]], Func: fn})
		}
	}
	return c
}

func (c *testCase) mapByIdx(i int32) *catalog.MapDef {
	if i < 0 || int(i) >= len(c.maps) {
		return nil
	}
	return c.maps[i]
}

// options are those of the case's caller.
func (c *testCase) options() verifier.Options {
	return verifier.Options{Unprivileged: c.capBPF, CapBPF: c.capBPF}
}

// level is the log level a case needs: everything only if it looks for it.
func (c *testCase) level() uint32 {
	if len(c.log) > 0 || c.pres != nil {
		return 2
	}
	return 1
}

// labelSlots finds where labels stand by assembling the text with a load of each.
func labelSlots(t testing.TB, c *testCase) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, label := range c.labels {
		insns, err := isa.Assemble(c.name, "r1 = func["+label+"] ll\n"+c.text, isa.Symbols{
			Helper: func(string) (int32, bool) { return 1, true },
			Kfunc:  func(string) (int32, int16, bool) { return 1, 0, true },
			Map:    func(string, string) (int32, bool) { return 0, true },
		})
		if err != nil {
			t.Fatal(err)
		}
		out[label] = int(insns[0].Imm) + 1 - 2
	}
	return out
}

var mapTypes = map[string]catalog.MapType{
	"hash": catalog.MapHash, "array": catalog.MapArray, "prog_array": catalog.MapProgArray,
	"perf_event_array": catalog.MapPerfEventArray, "percpu_array": catalog.MapPerCPUArray,
	"percpu_hash": catalog.MapPerCPUHash, "lpm_trie": catalog.MapLPMTrie, "ringbuf": catalog.MapRingBuf,
	"queue": catalog.MapQueue, "stack": catalog.MapStack, "devmap": catalog.MapDevMap, "cpumap": catalog.MapCPUMap,
	"xskmap": catalog.MapXSKMap, "array_of_maps": catalog.MapArrayOfMaps, "hash_of_maps": catalog.MapHashOfMaps,
	"lru_hash": catalog.MapLRUHash, "bloom_filter": catalog.MapBloomFilter, "user_ringbuf": catalog.MapUserRingBuf,
	"sockmap": catalog.MapSockMap, "stack_trace": catalog.MapStackTrace,
}

var u32 = &btf.Int{Name: "unsigned int", Size: 4}

// valueTypes are values with a special field at offset 8 (lock: 4).
var valueTypes = map[string]struct {
	typ     btf.Type
	size    uint32
	special catalog.SpecialField
}{
	"lock": {
		&btf.Struct{Name: "val_lock", Size: 16, Members: []btf.Member{
			{Name: "cnt", Type: u32},
			{Name: "l", Offset: 32, Type: &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}},
			{Name: "a", Offset: 64, Type: u32}, {Name: "b", Offset: 96, Type: u32},
		}}, 16, catalog.SpecialField{Kind: catalog.SpecialSpinLock, Off: 4, Size: 4},
	},
	"timer": {
		&btf.Struct{Name: "val_timer", Size: 24, Members: []btf.Member{
			{Name: "cnt", Type: &btf.Int{Name: "unsigned long", Size: 8}},
			{Name: "t", Offset: 64, Type: &btf.Struct{Name: "bpf_timer", Size: 16, Members: []btf.Member{
				{Name: "__opaque", Type: &btf.Array{Type: &btf.Int{Name: "unsigned long", Size: 8}, Index: u32, Nelems: 2}}}}},
		}}, 24, catalog.SpecialField{Kind: catalog.SpecialTimer, Off: 8, Size: 16},
	},
}

func parseMap(t testing.TB, name, val string) *catalog.MapDef {
	t.Helper()
	w := strings.Fields(val)
	typ, ok := mapTypes[w[0]]
	if !ok || len(w) < 4 {
		t.Fatalf("bad map %q", val)
	}
	num := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	m := &catalog.MapDef{Name: name, Type: typ, KeySize: num(w[1]), MaxEntries: num(w[3])}
	if name, ok := strings.CutPrefix(w[2], "struct:"); ok {
		m.Value = &btf.Struct{Name: name}
	} else if v, ok := valueTypes[w[2]]; ok {
		m.Key, m.Value, m.ValueSize = u32, v.typ, v.size
		m.Special = []catalog.SpecialField{v.special}
	} else {
		m.ValueSize = num(w[2])
	}
	if len(w) > 4 {
		m.Flags = num(w[4])
	}
	if typ == catalog.MapArrayOfMaps || typ == catalog.MapHashOfMaps {
		m.Inner = &catalog.MapDef{Name: "inner", Type: catalog.MapArray, KeySize: 4, ValueSize: 16, MaxEntries: 1}
		if len(w) > 5 {
			m.Inner.Flags = num(w[5])
		}
	}
	return m
}

// parseFunc reads "static (int, ptr:8, ctx)": linkage and parameters.
func parseFunc(t testing.TB, name, val string) *btf.Func {
	t.Helper()
	link, params, _ := strings.Cut(val, " ")
	intType := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	proto := &btf.FuncProto{Return: intType}
	fn := &btf.Func{Name: name, Type: proto, Linkage: btf.StaticFunc}
	if link == "global" {
		fn.Linkage = btf.GlobalFunc
	}
	for _, p := range strings.Split(strings.Trim(params, "() "), ",") {
		kind, size, _ := strings.Cut(strings.TrimSpace(p), ":")
		var typ btf.Type
		switch kind {
		case "":
			continue
		case "int":
			typ = intType
		case "void":
			typ = &btf.Pointer{Target: &btf.Void{}}
		case "skb":
			typ = &btf.Pointer{Target: &btf.Struct{Name: "__sk_buff", Size: 192}}
		case "xdp":
			typ = &btf.Pointer{Target: &btf.Struct{Name: "xdp_md", Size: 24}}
		case "ptr":
			n, err := strconv.Atoi(size)
			if err != nil {
				t.Fatal(err)
			}
			typ = &btf.Pointer{Target: &btf.Struct{Name: fmt.Sprintf("s%d", n), Size: uint32(n)}}
		default:
			t.Fatalf("unknown parameter kind %q", kind)
		}
		proto.Params = append(proto.Params, btf.FuncParam{Name: fmt.Sprintf("p%d", len(proto.Params)), Type: typ})
	}
	return fn
}

var update = flag.Bool("update", false, "rewrite the verdicts of cases from the live kernel")

// updateCase returns the case's text with the verdict that the kernel gives,
// in the words of ours where the kernel's log has them.
func updateCase(t *testing.T, f txtar.File) []byte {
	c := parseCase(t, f)
	head, text, ok := strings.Cut(string(f.Data), "\n\n")
	if !ok {
		head, text = "", string(f.Data)
	}
	var lines []string
	for _, l := range strings.Split(head, "\n") {
		if l != "" && !strings.HasPrefix(l, "refuse:") && !strings.HasPrefix(l, "post:") && !strings.HasPrefix(l, "taken:") {
			lines = append(lines, l)
		}
	}
	if lp, err := loadKernel(t, c, c.level()); err == nil {
		lp.Close()
		if c.pres != nil {
			lines = append(lines, c.postLines(t, lp.Log)...)
		}
	} else {
		var ke *linux.Error
		if !errors.As(err, &ke) {
			t.Fatal(err)
		}
		if c.prog.AttachTo != "" && ke.Errno == errno.EPERM {
			return f.Data
		}
		words := ""
		_, verr := verifier.Verify(&c.prog, c.options())
		var ve *verifier.Error
		if errors.As(verr, &ve) && strings.Contains(ke.Log, ve.Msg) {
			words = ve.Msg
		} else {
			t.Errorf("skep says %v, the kernel %s", verr, tail(ke.Log))
		}
		lines = append(lines, strings.TrimSpace("refuse: "+ke.Errno.Name()+" "+words))
	}
	if len(lines) == 0 {
		return []byte(text)
	}
	return []byte(strings.Join(lines, "\n") + "\n\n" + text)
}

func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			if *update {
				for i, f := range ar.Files {
					t.Run(f.Name, func(t *testing.T) { ar.Files[i].Data = updateCase(t, f) })
				}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, f := range ar.Files {
				t.Run(f.Name, func(t *testing.T) { runCase(t, parseCase(t, f)) })
			}
		})
	}
}

func runCase(t *testing.T, c *testCase) {
	opts := c.options()
	opts.LogLevel = c.level()
	res, err := verifier.Verify(&c.prog, opts)
	checkVerdict(t, "skep", c, err)
	if res != nil && c.pres != nil {
		c.checkPosts(t, "skep", res.Log)
	}
	for _, w := range c.log {
		if res != nil && !strings.Contains(res.Log, w) {
			t.Errorf("skep: log has no %q:\n%s", w, res.Log)
		}
	}
	// The states claimed must be had without changing the verdict.
	opts = c.options()
	opts.States = true
	if _, serr := verifier.Verify(&c.prog, opts); (serr == nil) != (err == nil) {
		t.Errorf("with states: %v", serr)
	}
	oracle.Need(t, "bpf(2)", linux.Available())
	lp, kerr := loadKernel(t, c, c.level())
	if c.prog.AttachTo != "" && errors.Is(kerr, errno.EPERM) {
		return
	}
	if kerr == nil {
		if c.pres != nil && !c.differs {
			c.checkPosts(t, "kernel", lp.Log)
		}
		for _, w := range c.log {
			if !strings.Contains(lp.Log, w) {
				t.Errorf("kernel: log has no %q:\n%s", w, lp.Log)
			}
		}
		lp.Close()
	}
	if c.varies && kerr == nil {
		return
	}
	if c.differs && !c.varies && c.pres == nil {
		if (kerr == nil) == !c.refuse {
			t.Errorf("the kernel agrees after all: %v", kerr)
		}
		return
	}
	checkVerdict(t, "kernel", c, kerr)
	if t.Failed() {
		var ve *verifier.Error
		if errors.As(err, &ve) {
			t.Logf("skep's log:\n%s", tail(ve.Log))
		}
	}
}

func tail(s string) string {
	if n := len(s); n > 3000 {
		return "…" + s[n-3000:]
	}
	return s
}

func checkVerdict(t *testing.T, who string, c *testCase, err error) {
	t.Helper()
	if !c.refuse {
		if err != nil {
			t.Errorf("%s refuses: %s", who, tail(fmt.Sprintf("%+v", err)))
		}
		return
	}
	if err == nil {
		t.Errorf("%s accepts; want %s %s", who, c.no, c.words)
		return
	}
	var no errno.Errno
	if !errors.As(err, &no) || no.Name() != c.no {
		t.Errorf("%s: errno %v, want %s: %s", who, no, c.no, tail(fmt.Sprintf("%+v", err)))
	}
	text := fmt.Sprintf("%+v", err)
	var ve *verifier.Error
	if errors.As(err, &ve) {
		text = strings.Join(ve.Lines, "\n")
	}
	if !strings.Contains(text, c.words) {
		t.Errorf("%s: no %q in: %s", who, c.words, tail(text))
	}
}
