package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const bpfFSMagic = 0xcafe4a11

// MountForPin makes sure that objects can be pinned in a directory: a BPF file
// system is mounted there where there is none and mount is set.
func MountForPin(dir string, mount bool) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if uint32(fs.Type) == bpfFSMagic {
		return nil
	}
	if !mount {
		return fmt.Errorf("%s is in no BPF file system, and --nomount forbids to mount one", dir)
	}
	// The mount is private, so that it shows in no other namespace.
	err := unix.Mount("", dir, "none", unix.MS_PRIVATE|unix.MS_REC, "")
	if err == unix.EINVAL { // it is no mount point yet
		if err = unix.Mount(dir, dir, "none", unix.MS_BIND, ""); err == nil {
			err = unix.Mount("", dir, "none", unix.MS_PRIVATE|unix.MS_REC, "")
		}
	}
	if err == nil {
		err = unix.Mount("bpf", dir, "bpf", 0, "mode=0700")
	}
	if err != nil {
		return fmt.Errorf("%s: mount -t bpf: %w", dir, err)
	}
	return nil
}
