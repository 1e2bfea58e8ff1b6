package classic

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// libpcap answers questions about programs; see testdata/libpcap.c.
type libpcap struct{ path string }

func newLibpcap(t testing.TB) libpcap {
	t.Helper()
	cc := oracle.Tool(t, "cc", "gcc", "clang")
	path := filepath.Join(t.TempDir(), "libpcap")
	out, err := exec.Command(cc, "-o", path, "testdata/libpcap.c", "-lpcap").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	oracle.Need(t, "libpcap", err)
	return libpcap{path}
}

// ask returns a line of answer for each question.
func (l libpcap) ask(t testing.TB, questions *bytes.Buffer) []string {
	t.Helper()
	cmd := exec.Command(l.path)
	cmd.Stdin = questions
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("libpcap: %v", err)
	}
	var answers []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		answers = append(answers, s.Text())
	}
	return answers
}

func putProgram(b *bytes.Buffer, prog []Instruction) {
	fmt.Fprintf(b, "%d\n", len(prog))
	for _, i := range prog {
		fmt.Fprintf(b, "%d %d %d %d\n", i.Code, i.Jt, i.Jf, i.K)
	}
}

func TestListingIsLibpcaps(t *testing.T) {
	l := newLibpcap(t)
	var prog []Instruction
	for code := range 256 {
		for _, k := range []uint32{0, 1, 9, 16, 0x7fffffff, 1 << 31, AncillaryOffset + 2, AncillaryOffset + 64, NetworkOffset} {
			prog = append(prog, Instruction{uint16(code), 3, 250, k})
		}
	}
	for _, anc := range AncillaryRows {
		prog = append(prog, Instruction{Code: LD | H | ABS, K: anc.ID.K()})
	}
	var b bytes.Buffer
	for pc, i := range prog {
		fmt.Fprintf(&b, "i %d %d %d %d %d\n", pc, i.Code, i.Jt, i.Jf, i.K)
	}
	theirs := l.ask(t, &b)
	ours := strings.Split(string(AppendProgram(nil, prog, Listing)), "\n")
	for pc, i := range prog {
		// libpcap has no text for this one, which its interpreter knows.
		if i.Code != LDX|W|LEN && ours[pc] != theirs[pc] {
			t.Fatalf("%#x, k %#x: %q, libpcap's is %q", i.Code, i.K, ours[pc], theirs[pc])
		}
	}
}

func TestLibpcapAgreesWhatIsValid(t *testing.T) {
	l := newLibpcap(t)
	g := &generator{Rand: rand.New(rand.NewPCG(5, 6)), machine: Libpcap, size: 64}
	var b bytes.Buffer
	var programs [][]Instruction
	for n := range 20_000 {
		g.wild = 3 + n%40
		prog := g.program(1 + g.IntN(24))
		for i := range prog {
			if prog[i].Code == JMP|JA && g.IntN(3) == 0 {
				prog[i].K = uint32(-g.IntN(len(prog) + 2))
			}
		}
		programs = append(programs, prog)
		b.WriteString("v ")
		putProgram(&b, prog)
	}
	accepted := 0
	for n, answer := range l.ask(t, &b) {
		prog := programs[n]
		err, theirs := Check(prog, Libpcap), answer != "0"
		if err == nil {
			accepted++
		}
		// libpcap looks at classes and modes; its interpreter aborts on the
		// codes they do not make.
		unknown := false
		for _, i := range prog {
			if r := i.Row(); r == nil || r.In&Libpcap == 0 {
				unknown = true
			}
		}
		if (err == nil) != theirs && !unknown || err == nil && !theirs {
			t.Fatalf("program %d: skep says %v, libpcap %v\n%s", n, err, theirs, AppendProgram(nil, prog, Assembly))
		}
	}
	if accepted < 2000 {
		t.Errorf("%d of 20000 programs are valid: the draw is lopsided", accepted)
	}
}

func TestLibpcapAgreesWhatIsReturned(t *testing.T) {
	l := newLibpcap(t)
	g := &generator{Rand: rand.New(rand.NewPCG(5, 7)), machine: Libpcap, size: 64}
	type question struct {
		prog   []Instruction
		packet []byte
	}
	var b bytes.Buffer
	var asked []question
	for len(asked) < 10_000 {
		q := question{g.program(1 + g.IntN(30)), make([]byte, g.IntN(80))}
		for i := range q.packet {
			q.packet[i] = byte(g.Uint32())
		}
		vlan := false // of which libpcap is told beside the packet
		for _, i := range q.prog {
			vlan = vlan || pcapAncillary(i)
		}
		if vlan {
			continue
		}
		asked = append(asked, q)
		b.WriteString("r ")
		putProgram(&b, q.prog)
		fmt.Fprintln(&b, len(q.packet))
		for _, c := range q.packet {
			fmt.Fprintln(&b, c)
		}
	}
	for n, answer := range l.ask(t, &b) {
		q := asked[n]
		vm, err := NewVM(q.prog, Libpcap)
		if err != nil {
			t.Fatal(err)
		}
		got, book := vm.Run(q.packet, nil), interpret(q.prog, Libpcap, q.packet, nil)
		if text := strconv.FormatUint(uint64(got), 10); text != answer || got != book {
			t.Fatalf("program %d returns %d, by the book %d, in libpcap %s\n%s", n, got, book, answer, AppendProgram(nil, q.prog, Assembly))
		}
	}
}

// TestFormatsAreTcpdumps compares whole outputs of tcpdump -d, -dd and -ddd.
func TestFormatsAreTcpdumps(t *testing.T) {
	tcpdump := oracle.Tool(t, "tcpdump")
	for _, expr := range []string{"", "ip", "tcp port 80", "ip6 and udp portrange 53-99", "ip protochain 6", "icmp[0] << 2 = len - 7"} {
		out := func(flag string) string {
			b, err := exec.Command(tcpdump, "-y", "EN10MB", flag, expr).Output()
			oracle.Need(t, "tcpdump -d", err)
			return string(b)
		}
		prog, err := Read("tcpdump", []byte(out("-ddd")), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for flag, format := range map[string]Format{"-d": Listing, "-dd": CArray, "-ddd": Decimal} {
			theirs := out(flag)
			if ours := string(AppendProgram(nil, prog, format)); ours != theirs {
				t.Errorf("%s %q:\n%s\ntcpdump's is\n%s", flag, expr, ours, theirs)
			}
			// A listing leaves out what libpcap leaves in k of "jeq x".
			again, err := Read("tcpdump", []byte(theirs), nil, nil)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(prog) && flag != "-d" {
				t.Errorf("%s %q is read as %v, %v", flag, expr, again, err)
			}
		}
	}
}
