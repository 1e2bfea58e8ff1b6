//go:build unix

package debug

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MapFile is where perf looks for the functions of this process.
func MapFile() string { return fmt.Sprintf("/tmp/perf-%d.map", os.Getpid()) }

// AddToMap appends functions to the map file:
//
//	START SIZE NAME      in hex, but for the name
//
// Entries stay when code goes: perf resolves what it sampled afterwards, and of
// two entries for a place it takes the later one.
func AddToMap(fns []Function) error {
	var text strings.Builder
	for _, f := range fns {
		fmt.Fprintf(&text, "%x %x %s\n", f.Addr, f.Size, oneWord(f.Name))
	}
	name := MapFile()
	// Everybody can put things into /tmp: no links, and nobody else's file.
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("perf map: %w", &os.PathError{Op: "open", Path: name, Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("perf map: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Nlink != 1 {
		return fmt.Errorf("perf map: %s is not a file of this process's own", name)
	}
	// One write: with O_APPEND those of several threads do not mix.
	if _, err := unix.Write(fd, []byte(text.String())); err != nil {
		return fmt.Errorf("perf map: %w", err)
	}
	return nil
}

// oneWord keeps a name from being more than the rest of its line.
func oneWord(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, name)
}
