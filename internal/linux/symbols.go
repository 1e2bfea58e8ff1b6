package linux

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// Symbols returns the kernel's symbols by address, of several the first, and the
// address of one. It is empty where they are hidden (kernel.kptr_restrict).
func Symbols(one string) (names map[uint64]string, addr uint64) {
	names = map[uint64]string{}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return names, 0
	}
	defer f.Close()
	// ffffffff81000000 T _text	[module]
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at, rest, _ := strings.Cut(lines.Text(), " ")
		_, name, _ := strings.Cut(rest, " ")
		name, _, _ = strings.Cut(name, "\t")
		n, err := strconv.ParseUint(at, 16, 64)
		if err != nil || n == 0 {
			continue
		}
		if _, taken := names[n]; !taken {
			names[n] = name
		}
		if name == one {
			addr = n
		}
	}
	return names, addr
}
