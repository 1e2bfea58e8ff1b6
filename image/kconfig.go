package image

import (
	"bufio"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// kconfigType is how a configuration value is written into its variable.
type kconfigType uint8

const (
	kconfigBool kconfigType = iota + 1
	kconfigChar
	kconfigInt
	kconfigSigned
	kconfigTristate // enum libbpf_tristate: n 0, y 1, m 2
	kconfigString
)

// setKconfigType derives size, alignment and representation of a .kconfig extern
// from its type (libbpf: find_kcfg_type).
func (ext *Extern) setKconfigType() error {
	fail := func() error {
		return at(secKconfig, ext.Name, ErrNotSupported, "type %v", ext.Type)
	}
	size, err := btf.Sizeof(ext.Type)
	if err != nil || size <= 0 || size > maxSectionSize {
		return fail()
	}
	ext.raw.size, ext.raw.align = uint32(size), uint32(size)
	switch t := btf.UnderlyingType(ext.Type).(type) {
	case *btf.Int:
		switch {
		case t.Encoding == btf.Bool && size == 1:
			ext.raw.value = kconfigBool
		case t.Encoding == btf.Bool:
			return fail()
		case size == 1:
			ext.raw.value = kconfigChar
		case size > 8 || size&(size-1) != 0:
			return fail()
		case t.Encoding == btf.Signed:
			ext.raw.value = kconfigSigned
		default:
			ext.raw.value = kconfigInt
		}
	case *btf.Enum:
		if t.Name != "libbpf_tristate" {
			return fail()
		}
		ext.raw.value = kconfigTristate
	case *btf.Array:
		elem, ok := btf.UnderlyingType(t.Type).(*btf.Int)
		if !ok || elem.Size != 1 || elem.Encoding == btf.Bool {
			return fail()
		}
		ext.raw.value, ext.raw.align = kconfigString, 1
	default:
		return fail()
	}
	return nil
}

// addKconfig makes the map of configuration values, if any are asked for.
func (t *externTable) addKconfig(maps *mapTable, name string, types *objectTypes) error {
	if len(t.data) == 0 {
		return nil
	}
	m := newDataMap(KindKconfig, secKconfig, name, types)
	m.ValueSize, m.Data = uint32(len(t.data)), t.data
	maps.kconfig = maps.add(m)
	return nil
}

// setKconfig writes the values of the target's configuration into t.data
// (libbpf: bpf_object__resolve_externs).
func (t *externTable) setKconfig(externs []*Extern, order binary.ByteOrder, target *target) error {
	var missing []*Extern
	for _, ext := range externs {
		switch ext.Name {
		case "LINUX_KERNEL_VERSION":
			if err := t.setNumber(ext, order, uint64(target.version())); err != nil {
				return err
			}
		case "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER":
			if err := t.setNumber(ext, order, 1); err != nil {
				return err
			}
		default:
			if strings.HasPrefix(ext.Name, "CONFIG_") {
				missing = append(missing, ext)
			}
		}
	}
	for _, text := range []func() string{target.givenConfig, target.systemConfig} {
		if len(missing) == 0 {
			break
		}
		config := parseKconfig(text())
		rest := missing[:0]
		for _, ext := range missing {
			value, ok := config[ext.Name]
			if !ok {
				rest = append(rest, ext)
				continue
			}
			if err := t.setValue(ext, order, value); err != nil {
				return err
			}
		}
		missing = rest
	}
	return nil
}

// parseKconfig reads "CONFIG_X=value" lines; everything else in a .config file
// is comment. The first line for a name counts.
func parseKconfig(text string) map[string]string {
	config := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if _, seen := config[name]; ok && !seen && strings.HasPrefix(name, "CONFIG_") {
			config[name] = value
		}
	}
	return config
}

// setValue writes one value as a configuration file spells it: y, n, m, "text" or a number.
func (t *externTable) setValue(ext *Extern, order binary.ByteOrder, value string) error {
	bad := func() error {
		return at(secKconfig, ext.Name, ErrBadConfig, "%s does not suit type %v", value, ext.Type)
	}
	to := t.data[ext.Off : ext.Off+ext.raw.size]
	switch {
	case value == "y" || value == "n" || value == "m":
		switch ext.raw.value {
		case kconfigBool:
			if value == "m" {
				return bad()
			}
			to[0] = 0
			if value == "y" {
				to[0] = 1
			}
		case kconfigTristate:
			putUint(to, order, map[string]uint64{"n": 0, "y": 1, "m": 2}[value])
		case kconfigChar:
			to[0] = value[0]
		default:
			return bad()
		}
	case strings.HasPrefix(value, `"`):
		if ext.raw.value != kconfigString || len(value) < 2 || !strings.HasSuffix(value, `"`) {
			return bad()
		}
		text := value[1 : len(value)-1]
		clear(to)
		copy(to[:len(to)-1], text) // too long a text is cut, with room for its NUL
	default:
		n, err := strconv.ParseUint(value, 0, 64)
		if err != nil {
			i, err := strconv.ParseInt(value, 0, 64)
			if err != nil {
				return bad()
			}
			n = uint64(i)
		}
		if ext.raw.value == kconfigBool {
			return bad()
		}
		return t.setNumber(ext, order, n)
	}
	ext.Resolved = true
	return nil
}

// setNumber writes a number if it fits.
func (t *externTable) setNumber(ext *Extern, order binary.ByteOrder, n uint64) error {
	bits := ext.raw.size * 8
	fits := false
	switch ext.raw.value {
	case kconfigBool:
		fits = n <= 1
	case kconfigChar, kconfigInt:
		fits = bits == 64 || n>>bits == 0
	case kconfigSigned:
		fits = bits == 64 || int64(n) >= math.MinInt64>>(64-bits) && int64(n) <= math.MaxInt64>>(64-bits)
	}
	if !fits {
		return at(secKconfig, ext.Name, ErrBadConfig, "%d does not suit type %v", n, ext.Type)
	}
	putUint(t.data[ext.Off:ext.Off+ext.raw.size], order, n)
	ext.Resolved = true
	return nil
}

// putUint writes the low bytes of n over all of b, at most 8.
func putUint(b []byte, order binary.ByteOrder, n uint64) {
	switch len(b) {
	case 1:
		b[0] = byte(n)
	case 2:
		order.PutUint16(b, uint16(n))
	case 4:
		order.PutUint32(b, uint32(n))
	case 8:
		order.PutUint64(b, n)
	}
}
