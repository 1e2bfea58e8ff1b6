package classic

// Machine is a set of the machines that take classic programs. Each has rules
// of its own about what a program may contain.
type Machine uint8

// The machines.
const (
	// Socket is Linux's socket filter (SO_ATTACH_FILTER), which is also what
	// packet sockets, tun, xt_bpf and cls_bpf run (bpf_check_classic).
	Socket Machine = 1 << iota
	// Seccomp runs over struct seccomp_data at each system call (seccomp_check_filter).
	Seccomp
	// Libpcap is libpcap's own interpreter (bpf_validate, bpf_filter): jumps by
	// ja may go back, scratch memory begins as zeroes, and what lies above 0x7fffffff
	// is no ancillary data but for the VLAN tag.
	Libpcap
)

// machineNames are in the order of the bits.
var machineNames = [...]string{"socket", "seccomp", "libpcap"}

// String returns "socket", "seccomp" or "libpcap".
func (m Machine) String() string {
	for i, name := range machineNames {
		if m == 1<<i {
			return name
		}
	}
	return "unknown machine"
}

// Form is how an instruction's operand is written: the addressing modes of
// bpf_asm's manual, in its order, and that of instructions without one.
type Form uint8

// The addressing modes.
const (
	FormNone  Form = iota //                  nothing: neg, tax, txa
	FormX                 // x                register X
	FormAbs               // [12]             packet at k; ancillary data by name
	FormInd               // [x+12]           packet at X + k
	FormMem               // M[3]             scratch memory
	FormImm               // #12              the constant k
	FormMSH               // 4*([14]&0xf)     length of an IPv4 header
	FormLabel             // end              target of a jump
	FormCondK             // #12, yes, no     constant and targets
	FormCondX             // x, yes, no       X and targets
	FormA                 // a                accumulator
	FormLen               // #len             length of the packet
)

// Rule is what a machine demands of an instruction's k.
type Rule uint8

// The rules.
const (
	AnyK     Rule = iota // any value, or k is not looked at
	Divisor              // not 0
	Shift                // below 32
	Slot                 // below MemWords
	Distance             // a jump within the program
	Offset               // a packet offset, or a known ancillary load
)

// Row is what there is to know of one code.
type Row struct {
	Code uint16
	Name string  // mnemonic
	Form Form    // operand
	K    Rule    // what k must be
	In   Machine // who takes it
	Doc  string  // effect
}

const (
	packets = Socket | Libpcap
	all     = Socket | Seccomp | Libpcap
)

// Rows are the codes of the classic machine, by class. Where two rows could be
// read from one text (there is none) the first would win.
var Rows = []Row{
	{LD | W | ABS, "ld", FormAbs, Offset, all, "A = the 32-bit word at k; for seccomp the word at k of struct seccomp_data"},
	{LD | H | ABS, "ldh", FormAbs, Offset, packets, "A = the 16-bit word at k"},
	{LD | B | ABS, "ldb", FormAbs, Offset, packets, "A = the byte at k"},
	{LD | W | IND, "ld", FormInd, AnyK, packets, "A = the 32-bit word at X + k"},
	{LD | H | IND, "ldh", FormInd, AnyK, packets, "A = the 16-bit word at X + k"},
	{LD | B | IND, "ldb", FormInd, AnyK, packets, "A = the byte at X + k"},
	{LD | W | LEN, "ld", FormLen, AnyK, all, "A = length of the packet on the wire; for seccomp 64"},
	{LD | IMM, "ld", FormImm, AnyK, all, "A = k"},
	{LD | MEM, "ld", FormMem, Slot, all, "A = M[k]"},

	{LDX | W | LEN, "ldx", FormLen, AnyK, all, "X = length of the packet on the wire; for seccomp 64"},
	{LDX | IMM, "ldx", FormImm, AnyK, all, "X = k"},
	{LDX | MEM, "ldx", FormMem, Slot, all, "X = M[k]"},
	{LDX | B | MSH, "ldxb", FormMSH, AnyK, packets, "X = 4 times the low half of the byte at k"},

	{ST, "st", FormMem, Slot, all, "M[k] = A"},
	{STX, "stx", FormMem, Slot, all, "M[k] = X"},

	{ALU | ADD | K, "add", FormImm, AnyK, all, "A += k"},
	{ALU | ADD | X, "add", FormX, AnyK, all, "A += X"},
	{ALU | SUB | K, "sub", FormImm, AnyK, all, "A -= k"},
	{ALU | SUB | X, "sub", FormX, AnyK, all, "A -= X"},
	{ALU | MUL | K, "mul", FormImm, AnyK, all, "A *= k"},
	{ALU | MUL | X, "mul", FormX, AnyK, all, "A *= X"},
	{ALU | DIV | K, "div", FormImm, Divisor, all, "A /= k"},
	{ALU | DIV | X, "div", FormX, AnyK, all, "A /= X; the program returns 0 where X is 0"},
	{ALU | MOD | K, "mod", FormImm, Divisor, packets, "A %= k"},
	{ALU | MOD | X, "mod", FormX, AnyK, packets, "A %= X; the program returns 0 where X is 0"},
	{ALU | OR | K, "or", FormImm, AnyK, all, "A |= k"},
	{ALU | OR | X, "or", FormX, AnyK, all, "A |= X"},
	{ALU | AND | K, "and", FormImm, AnyK, all, "A &= k"},
	{ALU | AND | X, "and", FormX, AnyK, all, "A &= X"},
	{ALU | XOR | K, "xor", FormImm, AnyK, all, "A ^= k"},
	{ALU | XOR | X, "xor", FormX, AnyK, all, "A ^= X"},
	{ALU | LSH | K, "lsh", FormImm, Shift, all, "A <<= k"},
	{ALU | LSH | X, "lsh", FormX, AnyK, all, "A <<= X, of which the machines take the low five bits, libpcap 0 from 32 on"},
	{ALU | RSH | K, "rsh", FormImm, Shift, all, "A >>= k"},
	{ALU | RSH | X, "rsh", FormX, AnyK, all, "A >>= X, of which the machines take the low five bits, libpcap 0 from 32 on"},
	{ALU | NEG, "neg", FormNone, AnyK, all, "A = -A"},

	{JMP | JA, "ja", FormLabel, Distance, all, "go k instructions on"},
	{JMP | JEQ | K, "jeq", FormCondK, AnyK, all, "go jt on where A == k, else jf"},
	{JMP | JEQ | X, "jeq", FormCondX, AnyK, all, "go jt on where A == X, else jf"},
	{JMP | JGT | K, "jgt", FormCondK, AnyK, all, "go jt on where A > k, else jf"},
	{JMP | JGT | X, "jgt", FormCondX, AnyK, all, "go jt on where A > X, else jf"},
	{JMP | JGE | K, "jge", FormCondK, AnyK, all, "go jt on where A >= k, else jf"},
	{JMP | JGE | X, "jge", FormCondX, AnyK, all, "go jt on where A >= X, else jf"},
	{JMP | JSET | K, "jset", FormCondK, AnyK, all, "go jt on where A & k is not 0, else jf"},
	{JMP | JSET | X, "jset", FormCondX, AnyK, all, "go jt on where A & X is not 0, else jf"},

	{RET | K, "ret", FormImm, AnyK, all, "return k"},
	{RET | X, "ret", FormX, AnyK, 0, "return X: bpf_asm writes it, no machine takes it"},
	{RET | A, "ret", FormA, AnyK, all, "return A"},

	{MISC | TAX, "tax", FormNone, AnyK, all, "X = A"},
	{MISC | TXA, "txa", FormNone, AnyK, all, "A = X"},
}

// rowOf finds a row by code; codes beyond a byte exist nowhere.
var rowOf = func() (t [256]*Row) {
	for i := range Rows {
		t[Rows[i].Code] = &Rows[i]
	}
	return t
}()

// Row returns the row of the instruction's code, or nil.
func (i Instruction) Row() *Row {
	if int(i.Code) >= len(rowOf) {
		return nil
	}
	return rowOf[i.Code]
}

// conditional reports whether the row's instruction has jt and jf.
func (r *Row) conditional() bool { return r.Form == FormCondK || r.Form == FormCondX }
