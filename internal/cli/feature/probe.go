package feature

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/isa"
)

func newProbe(s *ui.Streams) *cobra.Command {
	var o objects.Options
	cmd := &cobra.Command{
		Use:     "probe [kernel|dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]",
		Aliases: []string{"p", "pr", "pro", "prob"},
		Short:   "Try what of BPF a machine or the kernel takes, as bpftool does",
		Long: `Tries what of BPF a machine that skep serve keeps (--machine, SKEP_MACHINE) or the
kernel (--engine linux) takes: program types, map types, which helpers each type may
call. The output is that of bpftool feature probe; macros makes it a C header.

  dev NAME      what the device takes for its own hardware
  full          also try helpers whose use the kernel logs
  unprivileged  what callers without capabilities may do; on a machine`,
		Example: `  skep feature probe --machine /tmp/machine
  sudo skep feature probe kernel macros prefix HAVE_ --engine linux`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := &prober{}
			if err := p.parse(&objects.Words{Left: args}); err != nil {
				return err
			}
			if o.Unprivileged = p.unprivileged; p.unprivileged && o.Engine == engine.Linux {
				return errors.New("unprivileged: the kernel asks who the caller is: run it as such a user")
			}
			return o.Run(s, p.run)(cmd, nil)
		},
	}
	o.Flags(cmd)
	return cmd
}

// prober tries features and says what came of it.
type prober struct {
	*objects.Verb
	device             string
	ifindex            uint32
	full, unprivileged bool
	macros             bool
	prefix             string

	have map[catalog.ProgType]bool
}

func (p *prober) parse(w *objects.Words) error {
	named := false
	for w.Len() > 0 {
		switch {
		case !named && w.Take("kernel"):
			named = true
		case !named && w.Take("dev"):
			named = true
			name, err := w.Next("the name of a device")
			if err != nil {
				return err
			}
			dev, err := net.InterfaceByName(name)
			if err != nil {
				return fmt.Errorf("device %s: %w", name, err)
			}
			p.device, p.ifindex = name, uint32(dev.Index)
		case w.Take("full"):
			p.full = true
		case !p.macros && w.Take("macros"):
			p.macros = true
		case p.macros && w.Take("prefix"):
			var err error
			if p.prefix, err = w.Next("PREFIX"); err != nil {
				return err
			}
		case w.Take("unprivileged"):
			p.unprivileged = true
		default:
			return ui.Usagef("%q: there are kernel, dev NAME, full, unprivileged, macros and, behind it, prefix PREFIX", w.Peek())
		}
	}
	return nil
}

func (p *prober) run(v *objects.Verb) error {
	p.Verb, p.have = v, map[catalog.ProgType]bool{}
	if v.J != nil {
		p.macros = false
		v.J.Object()
		defer v.J.EndObject()
	}
	if p.ifindex == 0 {
		p.systemConfig()
	}
	p.section("syscall_config", "Scanning system call availability...", "System call availability", func() {
		_, err := linux.NextID(linux.KindProg, 0)
		none := errors.Is(err, errors.ErrUnsupported) || strings.Contains(fmt.Sprint(err), "not implemented")
		p.feature("have_bpf_syscall", "bpf() syscall", "BPF_SYSCALL", !none)
	})
	p.section("program_types", "Scanning eBPF program types...", "eBPF program types", p.programTypes)
	p.section("map_types", "Scanning eBPF map types...", "eBPF map types", p.mapTypes)
	p.section("helpers", "Scanning eBPF helper functions...", "eBPF helper functions", p.helpers)
	p.section("misc", "Scanning miscellaneous eBPF features...", "eBPF misc features", p.misc)
	return nil
}

// section writes what belongs together.
func (p *prober) section(json, plain, comment string, body func()) {
	switch {
	case p.J != nil:
		p.J.Name(json)
		p.J.Object()
		body()
		p.J.EndObject()
		return
	case p.macros:
		p.Printf("/*** %s ***/\n", comment)
	default:
		p.Printf("%s\n", plain)
	}
	body()
	p.Printf("\n")
}

// feature says whether there is something.
func (p *prober) feature(json, plain, macro string, have bool) {
	not, no := "", ""
	if !have {
		not, no = "NOT ", "NO_"
	}
	switch {
	case p.J != nil:
		p.J.Field(json, have)
	case p.macros:
		p.Printf("#define %s%sHAVE_%s\n", p.prefix, no, macro)
	default:
		p.Printf("%s is %savailable\n", plain, not)
	}
}

// sysctl is a setting of the system's, with what its values mean.
type sysctl struct {
	name, path, unknown, other string
	values                     []string
}

var sysctls = []sysctl{
	{"unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled", "Unable to retrieve required privileges for bpf() syscall", "bpf() syscall restriction has unknown value %d", []string{
		"bpf() syscall for unprivileged users is enabled",
		"bpf() syscall restricted to privileged users (without recovery)",
		"bpf() syscall restricted to privileged users (admin can change)",
	}},
	{"bpf_jit_enable", "/proc/sys/net/core/bpf_jit_enable", "Unable to retrieve JIT-compiler status", "JIT-compiler status has unknown value %d", []string{
		"JIT compiler is disabled", "JIT compiler is enabled", "JIT compiler is enabled with debugging traces in kernel logs",
	}},
	{"bpf_jit_harden", "/proc/sys/net/core/bpf_jit_harden", "Unable to retrieve JIT hardening status", "JIT hardening status has unknown value %d", []string{
		"JIT compiler hardening is disabled", "JIT compiler hardening is enabled for unprivileged users", "JIT compiler hardening is enabled for all users",
	}},
	{"bpf_jit_kallsyms", "/proc/sys/net/core/bpf_jit_kallsyms", "Unable to retrieve JIT kallsyms export status", "JIT kallsyms exports status has unknown value %d", []string{
		"JIT compiler kallsyms exports are disabled", "JIT compiler kallsyms exports are enabled for root",
	}},
	{"bpf_jit_limit", "/proc/sys/net/core/bpf_jit_limit", "Unable to retrieve global memory limit for JIT compiler for unprivileged users", "Global memory limit for JIT compiler for unprivileged users is %d bytes", nil},
}

// options are the kernel's build options that have to do with BPF.
var options = strings.Fields(`CONFIG_BPF CONFIG_BPF_SYSCALL CONFIG_HAVE_EBPF_JIT CONFIG_BPF_JIT CONFIG_BPF_JIT_ALWAYS_ON
	CONFIG_DEBUG_INFO_BTF CONFIG_DEBUG_INFO_BTF_MODULES CONFIG_CGROUPS CONFIG_CGROUP_BPF CONFIG_CGROUP_NET_CLASSID
	CONFIG_SOCK_CGROUP_DATA CONFIG_BPF_EVENTS CONFIG_KPROBE_EVENTS CONFIG_UPROBE_EVENTS CONFIG_TRACING
	CONFIG_FTRACE_SYSCALLS CONFIG_FUNCTION_ERROR_INJECTION CONFIG_BPF_KPROBE_OVERRIDE CONFIG_NET CONFIG_XDP_SOCKETS
	CONFIG_LWTUNNEL_BPF CONFIG_NET_ACT_BPF CONFIG_NET_CLS_BPF CONFIG_NET_CLS_ACT CONFIG_NET_SCH_INGRESS CONFIG_XFRM
	CONFIG_IP_ROUTE_CLASSID CONFIG_IPV6_SEG6_BPF CONFIG_BPF_LIRC_MODE2 CONFIG_BPF_STREAM_PARSER
	CONFIG_NETFILTER_XT_MATCH_BPF CONFIG_BPFILTER CONFIG_BPFILTER_UMH CONFIG_TEST_BPF CONFIG_HZ`)

func (p *prober) systemConfig() {
	if p.macros {
		p.section("", "", "Misc kernel config items", func() { p.option("CONFIG_HZ", kernelConfig()) })
		return
	}
	p.section("system_config", "Scanning system configuration...", "", func() {
		if !p.Live { // what this system is set to is not the machine's
			return
		}
		for _, s := range sysctls {
			s.show(p)
		}
		config := kernelConfig()
		for _, name := range options {
			p.option(name, config)
		}
	})
}

func (s *sysctl) show(p *prober) {
	n := int64(-1)
	if b, err := os.ReadFile(s.path); err == nil {
		if v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			n = v
		}
	}
	switch {
	case p.J != nil:
		p.J.Field(s.name, n)
	case n == -1:
		p.Printf("%s\n", s.unknown)
	case n >= 0 && n < int64(len(s.values)):
		p.Printf("%s\n", s.values[n])
	default:
		p.Printf(s.other+"\n", n)
	}
}

func (p *prober) option(name string, config map[string]string) {
	value, ok := config[name]
	switch {
	case p.J != nil && ok:
		p.J.Field(name, value)
	case p.J != nil:
		p.J.Name(name)
		p.J.Null()
	case p.macros && ok:
		p.Printf("#define %s%s %s\n", p.prefix, name, value)
	case p.macros:
		p.Printf("/* %s%s is not set */\n", p.prefix, name)
	case ok:
		p.Printf("%s is set to %s\n", name, value)
	default:
		p.Printf("%s is not set\n", name)
	}
}

// kernelConfig is what the running kernel was built with, as far as it is to be found.
func kernelConfig() map[string]string {
	config := map[string]string{}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	for _, path := range []string{"/boot/config-" + strings.TrimSpace(string(release)), "/proc/config.gz"} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var in io.Reader = bytes.NewReader(b)
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			in = z
		}
		for lines := bufio.NewScanner(in); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), "="); ok && strings.HasPrefix(name, "CONFIG_") {
				config[name] = value
			}
		}
		break
	}
	return config
}

// offloads are the program types a device can take.
func offloads(t catalog.ProgType) bool { return t == catalog.ProgSchedCls || t == catalog.ProgXDP }

func (p *prober) programTypes() {
	two := isa.Program(isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
	for _, k := range catalog.ProgKinds() {
		if p.ifindex != 0 {
			if !offloads(k.Type) {
				continue
			}
			p.have[k.Type] = linux.Loads(k.Type, two, p.ifindex)
		} else {
			p.have[k.Type] = linux.HaveProgType(k.Type)
		}
		p.feature("have_"+k.Name+"_prog_type", "eBPF program_type "+k.Name, strings.ToUpper(k.Name)+"_PROG_TYPE", p.have[k.Type])
	}
}

func (p *prober) mapTypes() {
	for _, k := range catalog.MapKinds() {
		have := false
		if p.ifindex != 0 {
			if k.Type != catalog.MapHash && k.Type != catalog.MapArray {
				continue
			}
			m, err := linux.NewMap(&catalog.MapDef{Type: k.Type, KeySize: 4, ValueSize: 4, MaxEntries: 1}, &linux.MapOptions{IfIndex: p.ifindex})
			if have = err == nil; have {
				m.Close()
			}
		} else {
			have = linux.HaveMapType(k.Type)
		}
		p.feature("have_"+k.Name+"_map_type", "eBPF map_type "+k.Name, strings.ToUpper(k.Name)+"_MAP_TYPE", have)
	}
}

// logged are the helpers whose use the kernel writes into its log.
func logged(id catalog.HelperID) bool {
	return id == catalog.FnTracePrintk || id == catalog.FnTraceVprintk || id == catalog.FnProbeWriteUser
}

const macroHelp = `/*
 * Use %[1]sHAVE_PROG_TYPE_HELPER(prog_type_name, helper_name)
 * to determine if <helper_name> is available for <prog_type_name>,
 * e.g.
 *	#if %[1]sHAVE_PROG_TYPE_HELPER(xdp, bpf_redirect)
 *		// do stuff with this helper
 *	#elif
 *		// use a workaround
 *	#endif
 */
#define %[1]sHAVE_PROG_TYPE_HELPER(prog_type, helper)	\
	%[1]sBPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper
`

func (p *prober) helpers() {
	if p.macros {
		p.Printf(macroHelp, p.prefix)
	}
	for _, k := range catalog.ProgKinds() {
		if p.ifindex == 0 || offloads(k.Type) {
			p.helpersOf(&k)
		}
	}
}

func (p *prober) helpersOf(k *catalog.ProgKind) {
	switch {
	case p.J != nil:
		p.J.Name(k.Name + "_available_helpers")
		p.J.Array()
		defer p.J.EndArray()
	case !p.macros:
		p.Printf("eBPF helpers supported for program type %s:", k.Name)
	}
	any := false
	for id := catalog.HelperID(1); catalog.HelperByID(id) != nil; id++ {
		if logged(id) && !p.full {
			continue
		}
		have := p.have[k.Type] && p.helper(k.Type, id)
		any = any || have
		name := id.String()
		switch {
		case p.macros:
			n := 0
			if have {
				n = 1
			}
			p.Printf("#define %sBPF__PROG_TYPE_%s__HELPER_%s %d\n", p.prefix, k.Name, name, n)
		case have && p.J != nil:
			p.J.String(name)
		case have:
			p.Printf("\n\t- %s", name)
		}
	}
	if p.J != nil || p.macros {
		return
	}
	p.Printf("\n")
	switch {
	case any:
	case !p.have[k.Type]:
		p.Printf("\tProgram type not supported\n")
	default:
		p.Printf("\tCould not determine which helpers are available\n")
	}
}

func (p *prober) helper(t catalog.ProgType, id catalog.HelperID) bool {
	if p.ifindex == 0 {
		return linux.HaveHelper(t, id)
	}
	log := linux.RefusalLog(t, isa.Program(isa.HelperCall(int32(id)), isa.ExitInsn()), p.ifindex)
	return !strings.Contains(log, "invalid func ") && !strings.Contains(log, "unknown func ")
}

// misc tries what is none of types and helpers, with a program each.
func (p *prober) misc() {
	r0, exit := isa.R0, isa.ExitInsn()
	large := make([]isa.Part, 0, 4097)
	for range 4096 {
		large = append(large, isa.Mov64Imm(r0, 1))
	}
	forward := func(class isa.Opcode) []isa.Instruction { // a jump that came with the second or third instruction set
		return isa.Program(isa.Mov64Imm(r0, 0), isa.Instruction{Op: class | isa.Opcode(isa.Jlt), Dst: r0, Off: 1}, isa.Mov64Imm(r0, 1), exit)
	}
	for _, m := range []struct {
		json, plain, macro string
		insns              []isa.Instruction
	}{
		{"have_large_insn_limit", "Large program size limit", "LARGE_INSN_LIMIT", isa.Program(append(large, exit)...)},
		{"have_bounded_loops", "Bounded loop support", "BOUNDED_LOOPS", isa.Program(isa.Mov64Imm(r0, 10),
			isa.Instruction{Op: isa.Opcode(isa.ClassALU64) | isa.Opcode(isa.Sub), Dst: r0, Imm: 1},
			isa.Instruction{Op: isa.Opcode(isa.ClassJMP) | isa.Opcode(isa.Jne), Dst: r0, Off: -2}, exit)},
		{"have_v2_isa_extension", "ISA extension v2", "V2_ISA_EXTENSION", forward(isa.Opcode(isa.ClassJMP))},
		{"have_v3_isa_extension", "ISA extension v3", "V3_ISA_EXTENSION", forward(isa.Opcode(isa.ClassJMP32))},
	} {
		p.feature(m.json, m.plain, m.macro, linux.Loads(catalog.ProgSocketFilter, m.insns, p.ifindex))
	}
}

func newList(s *ui.Streams) *cobra.Command {
	var o objects.Options
	cmd := &cobra.Command{
		Use:     "list_builtins {prog_types|map_types|attach_types|link_types|helpers}",
		Aliases: []string{"list"},
		Short:   "List the names skep knows, as bpftool lists its own",
		Example: "  skep feature list_builtins helpers -j",
		Args:    ui.Args(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.Offline(s, args, func(v *objects.Verb) error {
				for _, g := range groups {
					if v.Take(g.name) {
						return listNames(v, g.names())
					}
				}
				return ui.Usagef("%q: there are prog_types, map_types, attach_types, link_types and helpers", v.Peek())
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	f.BoolVarP(&o.Pretty, "pretty", "p", false, "print JSON, indented")
	return cmd
}

// groups are what has names.
var groups = []struct {
	name  string
	names func() []string
}{
	{"prog_types", func() []string {
		names := []string{"unspec"}
		for _, k := range catalog.ProgKinds() {
			names = append(names, k.Name)
		}
		return names
	}},
	{"map_types", func() []string {
		names := []string{"unspec"}
		for _, k := range catalog.MapKinds() {
			names = append(names, k.Name)
		}
		return names
	}},
	{"attach_types", func() (names []string) {
		for t := catalog.AttachType(0); t.String() != "unknown"; t++ {
			names = append(names, t.String())
		}
		return names
	}},
	{"link_types", func() []string { return append([]string{"unspec"}, objects.LinkTypes()...) }},
	{"helpers", func() []string {
		names := []string{"bpf_unspec"}
		for id := catalog.HelperID(1); catalog.HelperByID(id) != nil; id++ {
			names = append(names, id.String())
		}
		return names
	}},
}

func listNames(v *objects.Verb, names []string) error {
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	for _, name := range names {
		if v.J != nil {
			v.J.String(name)
		} else {
			v.Printf("%s\n", name)
		}
	}
	return nil
}
