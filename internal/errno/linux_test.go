//go:build linux

package errno

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinux compares names and numbers with the system's, which knows all but
// the kernel's internal ENOTSUPP.
func TestLinux(t *testing.T) {
	for name, e := range constants(t) {
		want := name
		switch name {
		case "ENOTSUPP":
			want = ""
		case "EOPNOTSUPP":
			want = "ENOTSUP" // the same number
		}
		if got := unix.ErrnoName(syscall.Errno(e)); got != want && got != name {
			t.Errorf("%s is %d, which Linux calls %q", name, e, got)
		}
	}
}
