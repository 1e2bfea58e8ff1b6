// Package cgroup is skep cgroup: programs attached to control groups, with
// bpftool's grammar and output.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "cgroup COMMAND",
		Short: "Show, attach and detach programs of control groups, as bpftool does",
		Long: `Shows, attaches and detaches the programs of control groups, with bpftool's grammar and
output: those of a machine that skep serve keeps (--machine, SKEP_MACHINE), or of the
kernel (--engine linux). A control group is a directory of a cgroup2 file system.

  ATTACH_TYPE := cgroup_inet_ingress, cgroup_inet_egress, cgroup_inet4_bind …, or the
                 short names ingress, egress, bind4 …`,
		Example: `  skep cgroup tree --machine /tmp/machine
  sudo skep cgroup show /sys/fs/cgroup --engine linux
  sudo skep cgroup attach /sys/fs/cgroup/web egress pinned /sys/fs/bpf/count multi --engine linux`,
	}, "show list tree attach detach help", []objects.VerbRow{
		{Use: "show CGROUP [effective]", Aliases: []string{"list"}, Short: "Show what is attached to a control group, or (effective) runs for it", Do: show},
		{Use: "tree [CGROUP_ROOT] [effective]", Short: "Show what is attached to a control group and to all below it", Do: tree},
		{Use: "attach CGROUP ATTACH_TYPE PROG [multi|override]", Short: "Attach a program to a control group", Do: attach},
		{Use: "detach CGROUP ATTACH_TYPE PROG", Short: "Take a program away from a control group", Do: detach},
	})
}

// shortNames are what bpftool called attach types at first; any beginning will do.
var shortNames = []struct {
	typ  catalog.AttachType
	name string
}{
	{catalog.AttachCGroupInetIngress, "ingress"}, {catalog.AttachCGroupInetEgress, "egress"},
	{catalog.AttachCGroupInetSockCreate, "sock_create"}, {catalog.AttachCGroupSockOps, "sock_ops"},
	{catalog.AttachCGroupDevice, "device"},
	{catalog.AttachCGroupInet4Bind, "bind4"}, {catalog.AttachCGroupInet6Bind, "bind6"},
	{catalog.AttachCGroupInet4Connect, "connect4"}, {catalog.AttachCGroupInet6Connect, "connect6"},
	{catalog.AttachCGroupInet4PostBind, "post_bind4"}, {catalog.AttachCGroupInet6PostBind, "post_bind6"},
	{catalog.AttachCGroupUDP4Sendmsg, "sendmsg4"}, {catalog.AttachCGroupUDP6Sendmsg, "sendmsg6"},
	{catalog.AttachCGroupSysctl, "sysctl"},
	{catalog.AttachCGroupUDP4Recvmsg, "recvmsg4"}, {catalog.AttachCGroupUDP6Recvmsg, "recvmsg6"},
	{catalog.AttachCGroupGetsockopt, "getsockopt"}, {catalog.AttachCGroupSetsockopt, "setsockopt"},
	{catalog.AttachCGroupInet4Getpeername, "getpeername4"}, {catalog.AttachCGroupInet6Getpeername, "getpeername6"},
	{catalog.AttachCGroupInet4Getsockname, "getsockname4"}, {catalog.AttachCGroupInet6Getsockname, "getsockname6"},
	{catalog.AttachCGroupInetSockRelease, "sock_release"},
}

func attachType(v *objects.Verb) (catalog.AttachType, error) {
	word, err := v.Next("ATTACH_TYPE")
	if err != nil {
		return 0, err
	}
	for t := catalog.AttachType(0); t.String() != "unknown"; t++ {
		if t.String() == word {
			return t, nil
		}
	}
	for _, s := range shortNames {
		if objects.Begins(word, s.name) {
			return s.typ, nil
		}
	}
	return 0, ui.Usagef("%q: there is no such attach type", word)
}

// lister shows what is attached.
type lister struct {
	*objects.Verb
	effective bool
	vmlinux   *rawbtf.BTF // the kernel's types, by which LSM programs' hooks are named
}

// options takes what may stand behind a control group.
func (l *lister) options() error {
	if l.Take("effective") {
		l.effective = true
	}
	l.vmlinux, _ = l.Types(objects.VmlinuxID)
	return l.End()
}

func (l *lister) flags() uint32 {
	if l.effective {
		return linux.QueryEffective
	}
	return 0
}

// attached are the places of a control group that have programs.
func (l *lister) attached(dir string) (found []place, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%s: not a control group", dir)
	}
	for t := catalog.AttachType(0); t.String() != "unknown"; t++ {
		if !catalog.AttachesProg(t).InCGroup() && t != catalog.AttachLSMCGroup {
			continue
		}
		a, err := linux.Query(int(f.Fd()), t, l.flags(), false)
		if errors.Is(err, errno.EINVAL) {
			continue // an older kernel has no such place
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if len(a.ProgIDs) > 0 {
			found = append(found, place{t, a})
		}
	}
	return found, nil
}

type place struct {
	typ catalog.AttachType
	*linux.Attached
}

func (l *lister) heading(first string) {
	if l.J != nil {
		return
	}
	l.Printf("%s%-8s %-15s ", first, "ID", "AttachType")
	if !l.effective {
		l.Printf("%-15s ", "AttachFlags")
	}
	l.Printf("%-15s\n", "Name")
}

// list shows the programs of places.
func (l *lister) list(found []place, level int) error {
	for _, at := range found {
		flags := ""
		switch at.Flags {
		case 0:
		case allowOverride:
			flags = "override"
		case allowMulti:
			flags = "multi"
		default:
			flags = fmt.Sprintf("unknown(%x)", at.Flags)
		}
		for _, id := range at.ProgIDs {
			if err := l.program(id, at.typ, flags, level); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lister) program(id uint32, t catalog.AttachType, flags string, level int) error {
	o, err := linux.OpenID(linux.KindProg, id)
	if errors.Is(err, errno.ENOENT) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return err
	}
	defer o.Close()
	p, err := o.Prog()
	if err != nil {
		return err
	}
	// The kernel's function it attaches to; without one bpftool writes an empty name.
	hook, named := "", l.vmlinux != nil && (p.AttachBTF == 0 || l.isVmlinux(p.AttachBTF))
	if named && l.vmlinux.Valid(p.AttachBTFType) {
		hook = l.vmlinux.Name(int(p.AttachBTFType))
	}
	name := l.FullName(p)
	if l.J != nil {
		l.J.Object()
		l.J.Field("id", p.ID)
		l.J.Field("attach_type", t.String())
		if !l.effective {
			l.J.Field("attach_flags", flags)
		}
		l.J.Field("name", name)
		if named {
			l.J.Field("attach_btf_name", hook)
		}
		l.J.Field("attach_btf_obj_id", p.AttachBTF)
		l.J.Field("attach_btf_id", p.AttachBTFType)
		l.J.EndObject()
		return nil
	}
	indent := ""
	if level > 0 {
		indent = "    "
	}
	l.Printf("%s%-8d %-15s", indent, p.ID, t)
	if !l.effective {
		l.Printf(" %-15s", flags)
	}
	l.Printf(" %-15s", ui.Printable(name))
	switch {
	case named:
		l.Printf(" %-15s", hook)
	case p.AttachBTFType != 0:
		l.Printf(" attach_btf_obj_id=%d attach_btf_id=%d", p.AttachBTF, p.AttachBTFType)
	}
	l.Printf("\n")
	return nil
}

// isVmlinux reports whether a BTF is that of the kernel itself.
func (l *lister) isVmlinux(id uint32) bool {
	o, err := linux.OpenID(linux.KindBTF, id)
	if err != nil {
		return false
	}
	defer o.Close()
	info, err := o.BTF()
	return err == nil && info.Kernel && info.Name == "vmlinux"
}

func show(v *objects.Verb) error {
	dir, err := v.Next("CGROUP")
	if err != nil {
		return err
	}
	l := &lister{Verb: v}
	if err := l.options(); err != nil {
		return err
	}
	found, err := l.attached(dir)
	if err != nil || found == nil {
		return err
	}
	l.heading("")
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	return l.list(found, 0)
}

func tree(v *objects.Verb) error {
	root, err := mountPoint()
	if v.Len() > 0 {
		root, err = v.Next("")
	}
	if err != nil {
		return err
	}
	l := &lister{Verb: v}
	if err := l.options(); err != nil {
		return err
	}
	if _, err := os.Stat(root); err != nil {
		return err
	}
	l.heading("CgroupPath\n")
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // removed meanwhile, or no control group
		}
		found, err := l.attached(path)
		if err != nil || found == nil {
			return err
		}
		if v.J != nil {
			v.J.Object()
			defer v.J.EndObject()
			v.J.Field("cgroup", path)
			v.J.Name("programs")
			v.J.Array()
			defer v.J.EndArray()
		} else {
			v.Printf("%s\n", ui.Printable(path))
		}
		level := strings.Count(strings.TrimPrefix(path, root), "/")
		return l.list(found, level)
	})
}

// mountPoint is where control groups are mounted.
func mountPoint() (string, error) {
	text, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

// Flags of attachments (uapi BPF_F_ALLOW_*).
const (
	allowOverride = 1
	allowMulti    = 2
)

// atGroup takes CGROUP ATTACH_TYPE PROG.
func atGroup(v *objects.Verb, do func(prog, group int, t catalog.AttachType) error) error {
	dir, err := v.Next("CGROUP")
	if err != nil {
		return err
	}
	t, err := attachType(v)
	if err != nil {
		return err
	}
	p, err := v.Prog()
	if err != nil {
		return err
	}
	defer p.Close()
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := do(p.FD(), int(f.Fd()), t); err != nil {
		return err
	}
	return v.Done()
}

func attach(v *objects.Verb) error {
	return atGroup(v, func(prog, group int, t catalog.AttachType) error {
		flags := uint32(0)
		for v.Len() > 0 {
			switch {
			case v.Take("multi"):
				flags |= allowMulti
			case v.Take("override"):
				flags |= allowOverride
			default:
				return ui.Usagef("%q: there are multi and override", v.Peek())
			}
		}
		return linux.ProgAttach(prog, group, t, flags)
	})
}

func detach(v *objects.Verb) error {
	return atGroup(v, func(prog, group int, t catalog.AttachType) error {
		if err := v.End(); err != nil {
			return err
		}
		return linux.ProgDetach(prog, group, t)
	})
}
