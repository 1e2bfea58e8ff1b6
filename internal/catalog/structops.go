package catalog

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
)

// StructOps is the row of one kernel structure of function pointers whose
// members programs of type struct_ops implement (struct bpf_struct_ops). What
// is not here, the members and their arguments, the kernel's BTF has.
type StructOps struct {
	Name  string // of the structure
	Since string // first Linux release
	Doc   string // one line

	// Stub is the name of the kernel function that stands in for a member, with
	// the member's name for "*". The names of its arguments tell what the
	// member's prototype does not: "__nullable" and "__ref" at their ends.
	Stub string
	// Members are the ones programs may implement; nil: every function pointer.
	Members []string
	// Sleepable are the members that sleepable programs may implement, if
	// OnlySleepable is set; else all are (check_member).
	Sleepable     []string
	OnlySleepable bool

	// NoHelpers: programs may call no helper. Else they may call those of
	// bpf_base_func_proto, and Helpers besides, but for the members of NotIn.
	NoHelpers bool
	Helpers   []HelperID
	NotIn     map[HelperID]string

	// Writes are the fields programs may store into, the others with what is
	// said of a store elsewhere (btf_struct_access): formats with the offset as
	// argument 1, the size as 2, the structure as 3, the end of the field as 4.
	Writes      []StructField
	OtherStruct string // into a structure that has no such field
	OtherField  string // into another field
	PastStruct  string // past the structure's end; "": as OtherField
	PastField   string // past the field's end
	Silent      bool   // nothing is said

	// What a map's value may hold besides programs: bits of a field of flags, and the
	// name it is known by, of which some are the kernel's own. Everything else must be zero.
	FlagsField  string
	FlagsMask   uint32
	NameField   string
	TakenNames  []string
	Needs       [][]string  // of each at least one member has to be implemented
	Updates     bool        // a link can get another map in its place, of the same name
	Unsupported errno.Errno // why no map's value can be set; 0: it can

	// Casts says which structure an argument points to in truth (is_valid_access).
	Casts map[string]string
	// Arg is an argument whose pointer is to be taken for one to a structure.
	Arg OpsArg
}

// OpsArg is an argument of a member of a structure.
type OpsArg struct {
	Member string
	No     int // from 0
	Struct string
}

// StructField names a field of a kernel structure by the path of its members,
// "icsk_ack.pending". A store must begin where the field does, unless Inside is set.
type StructField struct {
	Struct, Path string
	Inside       bool
	Skip, Short  uint32 // bytes at the field's beginning and end that do not count
}

// Takes reports whether programs may implement the member.
func (s *StructOps) Takes(member string) bool {
	return s.Members == nil || slices.Contains(s.Members, member)
}

// MaySleep reports whether sleepable programs may implement the member.
func (s *StructOps) MaySleep(member string) bool {
	return !s.OnlySleepable || slices.Contains(s.Sleepable, member)
}

// StubOf returns the name of the kernel function that stands in for the member.
func (s *StructOps) StubOf(member string) string { return strings.ReplaceAll(s.Stub, "*", member) }

// Calls reports whether programs that implement the member may call the helper,
// of which programs of type struct_ops have a row.
func (s *StructOps) Calls(id HelperID, member string) bool {
	if s.NoHelpers || s.NotIn[id] == member && member != "" {
		return false
	}
	return slices.Contains(s.Helpers, id) || !structOpsOnly[id]
}

// structOpsOnly are the helpers that some structure has besides the base set.
var structOpsOnly = func() map[HelperID]bool {
	m := map[HelperID]bool{}
	for i := range structOpsRows {
		for _, id := range structOpsRows[i].Helpers {
			m[id] = true
		}
	}
	return m
}()

// StructOpsByName returns the row of a kernel structure. One that has no row
// gets one without rules of its own: nothing of it can be written to.
func StructOpsByName(name string) *StructOps {
	for i := range structOpsRows {
		if structOpsRows[i].Name == name {
			return &structOpsRows[i]
		}
	}
	return &StructOps{Name: name, Stub: name + "__*", OtherStruct: "only read is supported"}
}

// OpsDef is what a struct_ops map holds: struct bpf_struct_ops_NAME of the kernel's
// types, whose member "data" is the structure.
type OpsDef struct {
	Row               *StructOps
	Value, Struct     *btf.Struct
	ValueID, StructID btf.TypeID
	Data              uint32 // where in the value the structure begins, bytes
}

// Functions yields where in a value the function pointers of the structure lie.
func (d *OpsDef) Functions() func(yield func(at uint32) bool) {
	return func(yield func(uint32) bool) {
		for i := range d.Struct.Members {
			if f := &d.Struct.Members[i]; IsFunc(f.Type) && !yield(d.Data+f.Offset.Bytes()) {
				return
			}
		}
	}
}

// IsFunc reports whether a type is a pointer to a function.
func IsFunc(t btf.Type) bool { return FuncOf(t) != nil }

// FuncOf returns the prototype behind a pointer to a function, or nil.
func FuncOf(t btf.Type) *btf.FuncProto {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, _ := btf.UnderlyingType(p.Target).(*btf.FuncProto)
	return proto
}

// OpsMember is a member that programs implement, as the kernel's types have it.
type OpsMember struct {
	Name  string
	Index int // among the structure's members
	Proto *btf.FuncProto
	OpsArgs
}

// OpsArgs are arguments of a member by their bits: Nullable may be NULL, Owned come with a reference.
type OpsArgs struct{ Nullable, Owned uint16 }

// Member returns the member of an index; nil: it is no function.
func (d *OpsDef) Member(spec *btf.Spec, index int) *OpsMember {
	if index < 0 || index >= len(d.Struct.Members) {
		return nil
	}
	m := &d.Struct.Members[index]
	proto := FuncOf(m.Type)
	if proto == nil {
		return nil
	}
	args, _ := d.Row.Args(spec, m.Name, proto)
	return &OpsMember{Name: m.Name, Index: index, Proto: proto, OpsArgs: args}
}

// Args reads what the names of the arguments of the kernel's function for a member say (prepare_arg_info);
// there may be no such function.
func (s *StructOps) Args(spec *btf.Spec, member string, proto *btf.FuncProto) (a OpsArgs, found bool) {
	var stub *btf.Func
	if spec.TypeByName(s.StubOf(member), &stub) != nil {
		return a, false
	}
	named, _ := stub.Type.(*btf.FuncProto)
	if named == nil || len(named.Params) != len(proto.Params) {
		return a, false
	}
	for i, p := range named.Params {
		switch {
		case strings.HasSuffix(p.Name, "__nullable"):
			a.Nullable |= 1 << i
		case strings.HasSuffix(p.Name, "__ref"):
			a.Owned |= 1 << i
		}
	}
	return a, true
}

// opsValue begins the names of the types of struct_ops maps' values.
const opsValue = "bpf_struct_ops_"

// OpsNamed returns the structure of a name; nil: the kernel has none that programs can implement.
func OpsNamed(spec *btf.Spec, name string) *OpsDef {
	var value *btf.Struct
	if spec == nil || spec.TypeByName(opsValue+name, &value) != nil {
		return nil
	}
	id, err := spec.TypeID(value)
	if err != nil {
		return nil
	}
	return opsOf(spec, value, id)
}

// FindOps returns the structure with a row whose map's value has the type id; nil: the kernel has no such one.
func FindOps(spec *btf.Spec, id btf.TypeID) *OpsDef {
	t, err := spec.TypeByID(id)
	if err != nil {
		return nil
	}
	value, ok := t.(*btf.Struct)
	if !ok {
		return nil
	}
	if d := opsOf(spec, value, id); d != nil && d.Row.Since != "" {
		return d
	}
	return nil
}

// opsOf is the structure within a map's value.
func opsOf(spec *btf.Spec, value *btf.Struct, id btf.TypeID) *OpsDef {
	name, ok := strings.CutPrefix(value.Name, opsValue)
	if !ok {
		return nil
	}
	d := &OpsDef{Row: StructOpsByName(name), Value: value, ValueID: id}
	for _, m := range value.Members {
		if s, ok := m.Type.(*btf.Struct); ok && s.Name == name {
			d.Struct, d.Data = s, m.Offset.Bytes()
		}
	}
	if d.Struct == nil {
		return nil
	}
	var err error
	if d.StructID, err = spec.TypeID(d.Struct); err != nil {
		return nil
	}
	return d
}

// StructOpsRows returns all rows.
func StructOpsRows() []StructOps { return structOpsRows[:] }

// What the kernel says of stores beside the fields it allows.
const (
	noWriteSupport = "no write support to %[3]s at off %[1]d"
	writeTooLong   = "write access at off %[1]d with size %[2]d beyond the member of %[3]s ended at %[4]d"
)

var structOpsRows = [...]StructOps{
	{
		Name: "tcp_congestion_ops", Since: "5.6", Doc: "A TCP congestion control algorithm.",
		Stub: "bpf_tcp_ca_*",
		Members: []string{
			"ssthresh", "cong_avoid", "set_state", "cwnd_event", "in_ack_event", "pkts_acked", "min_tso_segs",
			"cong_control", "undo_cwnd", "sndbuf_expand", "init", "release",
		},
		Helpers: []HelperID{FnTcpSendAck, FnSkStorageGet, FnSkStorageDelete, FnSetsockopt, FnGetsockopt, FnKtimeGetCoarseNs},
		NotIn:   map[HelperID]string{FnSetsockopt: "release", FnGetsockopt: "release"},
		Writes: []StructField{
			{Struct: "tcp_sock", Path: "inet_conn.icsk_inet.sk.sk_pacing_rate"},
			{Struct: "tcp_sock", Path: "inet_conn.icsk_inet.sk.sk_pacing_status"},
			{Struct: "tcp_sock", Path: "inet_conn.icsk_ca_priv", Inside: true},
			{Struct: "tcp_sock", Path: "inet_conn.icsk_ack.pending"},
			{Struct: "tcp_sock", Path: "snd_cwnd"},
			{Struct: "tcp_sock", Path: "snd_cwnd_cnt"},
			{Struct: "tcp_sock", Path: "snd_cwnd_stamp"},
			{Struct: "tcp_sock", Path: "snd_ssthresh"},
			{Struct: "tcp_sock", Path: "ecn_flags"},
			{Struct: "tcp_sock", Path: "app_limited"},
		},
		OtherStruct: "only read is supported", OtherField: noWriteSupport, PastField: writeTooLong,
		Casts:      map[string]string{"sock": "tcp_sock"},
		FlagsField: "flags", FlagsMask: 1<<5 - 1, NameField: "name", TakenNames: []string{"reno", "cubic"},
		Needs: [][]string{{"ssthresh"}, {"undo_cwnd"}, {"cong_avoid", "cong_control"}}, Updates: true,
	},
	{
		Name: "bpf_dummy_ops", Since: "5.16", Doc: "Members for tests, called by BPF_PROG_TEST_RUN only.",
		Unsupported: errno.EOPNOTSUPP,
		Stub:        "bpf_dummy_ops__*", Sleepable: []string{"test_sleepable"}, OnlySleepable: true, NoHelpers: true,
		Writes:      []StructField{{Struct: "bpf_dummy_ops_state", Path: "val", Inside: true}},
		OtherStruct: "only access to bpf_dummy_ops_state is supported",
		OtherField:  "write access at off %[1]d with size %[2]d", PastField: "write access at off %[1]d with size %[2]d",
	},
	{
		Name: "hid_bpf_ops", Since: "6.11", Doc: "Changes what a human interface device and its driver tell each other.",
		Stub: "__hid_bpf_*", Members: []string{"hid_device_event", "hid_rdesc_fixup", "hid_hw_request", "hid_hw_output_report"},
		Sleepable: []string{"hid_rdesc_fixup", "hid_hw_request", "hid_hw_output_report"}, OnlySleepable: true,
		Writes: []StructField{
			{Struct: "hid_bpf_ctx", Path: "retval", Inside: true},
			{Struct: "hid_device", Path: "name", Inside: true, Short: 1},
			{Struct: "hid_device", Path: "uniq", Inside: true, Short: 1},
			{Struct: "hid_device", Path: "phys", Inside: true, Short: 1},
		},
		OtherStruct: "write access to this struct is not supported",
		OtherField:  "write access at off %[1]d with size %[2]d on read-only part of %[3]s",
		PastStruct:  "write access for struct %[3]s at off %[1]d with size %[2]d",
		PastField:   "write access at off %[1]d with size %[2]d on read-only part of %[3]s",
	},
	{
		Name: "sched_ext_ops", Since: "6.12", Doc: "A scheduler of tasks.",
		Stub:      "sched_ext_ops__*",
		Sleepable: []string{"init_task", "cgroup_init", "cgroup_exit", "cgroup_prep_move", "cpu_online", "cpu_offline", "init", "exit"}, OnlySleepable: true,
		Writes: []StructField{
			{Struct: "task_struct", Path: "scx.slice", Inside: true},
			{Struct: "task_struct", Path: "scx.dsq_vtime", Inside: true},
			{Struct: "task_struct", Path: "scx.disallow", Inside: true},
		},
		Silent: true,
	},
	{
		Name: "Qdisc_ops", Since: "6.16", Doc: "A queueing discipline of traffic control.",
		Stub: "Qdisc_ops__*", Members: []string{"enqueue", "dequeue", "init", "reset", "destroy"},
		Writes: []StructField{
			{Struct: "Qdisc", Path: "limit"},
			{Struct: "Qdisc", Path: "q.qlen"},
			{Struct: "Qdisc", Path: "qstats", Inside: true},
			{Struct: "sk_buff", Path: "tstamp"},
			{Struct: "sk_buff", Path: "cb", Inside: true, Skip: 8, Short: 20}, // data of struct qdisc_skb_cb
		},
		OtherStruct: "only read is supported", OtherField: noWriteSupport, PastField: writeTooLong,
		Arg: OpsArg{Member: "enqueue", No: 2, Struct: "bpf_sk_buff_ptr"},
	},
}
