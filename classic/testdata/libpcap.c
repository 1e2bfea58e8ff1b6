/* Asks libpcap about programs. Requests on standard input are a letter and
 * numbers; each is answered by one line.
 *
 *   v N  code jt jf k  ...              does bpf_validate take the program?
 *   r N  code jt jf k  ...  L  bytes…   what bpf_filter returns on a packet
 *   i PC code jt jf k                   the text of an instruction
 */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned number(void)
{
	unsigned v;

	if (scanf("%u", &v) != 1)
		exit(1);
	return v;
}

static void instruction(struct bpf_insn *i)
{
	i->code = number();
	i->jt = number();
	i->jf = number();
	i->k = number();
}

int main(void)
{
	static struct bpf_insn prog[4096];
	static u_char packet[65536];
	unsigned i, n, len;
	char what;

	while (scanf(" %c", &what) == 1) {
		n = number();
		if (what == 'i') {
			instruction(prog);
			puts(bpf_image(prog, n));
			continue;
		}
		for (i = 0; i < n; i++)
			instruction(&prog[i]);
		if (what == 'v') {
			printf("%d\n", bpf_validate(prog, n));
			continue;
		}
		len = number();
		for (i = 0; i < len; i++)
			packet[i] = number();
		printf("%u\n", bpf_filter(prog, packet, len, len));
	}
	return 0;
}
