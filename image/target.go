package image

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// Options say for which kernel an object is linked. The zero value means the
// running one.
type Options struct {
	// Name replaces the object's name, which otherwise comes from its file's.
	Name string

	// TargetBTF gives the kernel types that CO-RE relocations, kernel functions
	// and variables are resolved against. It is called at most once, and only if
	// the object needs it. Nil means the running kernel's (/sys/kernel/btf/vmlinux).
	TargetBTF func() (*btf.Spec, error)

	// Kconfig has lines like CONFIG_HZ=250. What it does not say comes from the
	// running kernel's configuration.
	Kconfig string
	// KernelVersion is the value of LINUX_KERNEL_VERSION, as KERNEL_VERSION(a,b,c)
	// makes it; 0 means the running kernel's.
	KernelVersion uint32
	// Symbol gives the address of an untyped kernel symbol. Nil means /proc/kallsyms.
	Symbol func(name string) (uint64, bool)
}

// target answers what objects ask of the kernel they will run on, and asks for
// it no earlier than needed.
type target struct {
	opts Options
	spec func() (*btf.Spec, error)
	syms func() map[string]uint64
}

// defaultVersion stands in where no Linux is running: the kernel whose rules skep follows.
const defaultVersion = 6<<16 | 18<<8

func newTarget(opts *Options) *target {
	t := &target{}
	if opts != nil {
		t.opts = *opts
	}
	load := t.opts.TargetBTF
	if load == nil {
		load = btf.LoadKernelSpec
	}
	t.spec = sync.OnceValues(load)
	t.syms = sync.OnceValue(readKallsyms)
	return t
}

func (t *target) givenConfig() string { return t.opts.Kconfig }

// systemConfig returns the running kernel's configuration, "" if it is not to be had.
func (t *target) systemConfig() string {
	if text, err := os.ReadFile("/boot/config-" + kernelRelease()); err == nil {
		return string(text)
	}
	packed, err := os.ReadFile("/proc/config.gz")
	if err != nil {
		return ""
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		return ""
	}
	return string(text)
}

// version returns LINUX_KERNEL_VERSION.
func (t *target) version() uint32 {
	if v := t.opts.KernelVersion; v != 0 {
		return v
	}
	var parts [3]uint32
	rest := kernelRelease()
	for i := range parts {
		n := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
		if n < 0 {
			n = len(rest)
		}
		parts[i], _ = parseU32(rest[:n])
		rest = strings.TrimPrefix(rest[n:], ".")
	}
	if parts[0] == 0 {
		return defaultVersion
	}
	return parts[0]<<16 | parts[1]<<8 | min(parts[2], 255)
}

// kernelRelease returns what uname -r prints, "" where no Linux is running.
func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func parseU32(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// symbol returns the address of a kernel symbol.
func (t *target) symbol(name string) (uint64, bool) {
	if t.opts.Symbol != nil {
		return t.opts.Symbol(name)
	}
	addr, ok := t.syms()[name]
	return addr, ok
}

// readKallsyms returns the running kernel's symbols; none where they are hidden.
func readKallsyms() map[string]uint64 {
	syms := map[string]uint64{}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return syms
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // address, type, name[, module]
		if len(fields) < 3 {
			continue
		}
		if addr, err := strconv.ParseUint(fields[0], 16, 64); err == nil && addr != 0 {
			if _, seen := syms[fields[2]]; !seen {
				syms[fields[2]] = addr
			}
		}
	}
	return syms
}
