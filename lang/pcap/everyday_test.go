package pcap

// everyday are expressions people use, or find in manuals.
var everyday = []string{
	"", "ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "igmp", "sctp", "vlan", "mpls", "pppoes", "pppoed",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "host 10.0.0.1 and host 10.0.0.2",
	"host 127.0.0.1 and port 80", "ip host 1.2.3.4", "not host 10.0.0.1", "host 10.0.0.1 and not port 22",
	"ip6 host fe80::1", "host 2001:db8::1", "net 10.0.0.0/8", "src net 192.168.0.0/16", "dst net 172.16.0.0/12",
	"net 10", "net 192.168.1.0 mask 255.255.255.0", "ip6 net 2001:db8::/32", "src and dst net 10.0.0.0/8",
	"port 80", "tcp port 80", "udp port 53", "tcp dst port 443", "tcp src port 22", "port http", "port domain",
	"portrange 8000-8100", "tcp portrange 1-1023", "tcp port 80 or tcp port 443", "tcp port 80 or 443 or 8080",
	"tcp and (port 80 or port 443)", "udp port 67 or udp port 68", "port 53 and not host 8.8.8.8",
	"not port 22", "not tcp port 22 and not arp", "ether host 00:11:22:33:44:55", "ether src 00:11:22:33:44:55",
	"ether dst ff:ff:ff:ff:ff:ff", "ether broadcast", "ether multicast", "broadcast", "multicast", "ip broadcast",
	"ip multicast", "ip6 multicast", "ether proto 0x88cc", "ether proto \\arp", "ip proto \\tcp", "ip proto 47",
	"ip6 proto 58", "proto 89", "ip protochain 6", "ip6 protochain \\tcp", "less 64", "greater 1000", "len > 1500",
	"tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "tcp[tcpflags] == tcp-rst",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 192.168.0.0/16",
	"(tcp[tcpflags] & (tcp-syn|tcp-fin) != 0) and not src and dst net 10.0.0.0/8 and (port 80 or portrange 8000-8100)",
	"icmp[icmptype] = icmp-echo or icmp[icmptype] = icmp-echoreply", "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply",
	"icmp6[icmp6type] == icmp6-neighborsolicit", "ip[0] & 0xf != 5", "ip[6:2] & 0x1fff = 0", "ip[8] < 5",
	"ether[0] & 1 = 0 and ip[16] >= 224", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
	"tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "udp[8:2] & 0x8000 = 0 and udp port 53", "vlan 100", "vlan 100 and ip",
	"vlan and tcp port 80", "vlan 100 and vlan 200 and udp port 53", "udp port 53 or (vlan and udp port 53)",
	"mpls 1000 and host 10.0.0.1", "pppoes and tcp port 80", "pppoes 27 and ip6", "geneve and ip", "geneve 5 and tcp port 80",
	"gateway 10.0.0.1", "atalk", "ipx", "netbeui", "stp", "iso", "isis", "esis", "clnp", "llc", "llc ui", "decnet src 10.15",
	"ip and arp", "tcp and udp", "ip and not ip", "ah or esp", "pim or igmp or vrrp", "host 10.0.0.1 or 10.0.0.2 or 10.0.0.3",
	"src or dst port 80", "src and dst port 80", "tcp src port 80 and dst port 80", "inbound", "outbound", "ifindex 3",
	"host 10.0.0.1 and (tcp port 80 or udp port 53 or icmp)", "(host 10.0.0.1 or host 10.0.0.2) and (port 80 or port 443)",
	"dst 10.0.0.1", "src 10.0.0.1 or dst 10.0.0.2", "tcp dst port not 80", "host not 10.0.0.1",
}

// corners are expressions that random ones seldom reach, each for its link type.
var corners = []struct {
	link LinkType
	expr string
}{
	{Ethernet, "ip[0]+(ip[1]+(ip[2]+(ip[3]+(ip[4]+(ip[5]+(ip[6]+(ip[7]+(ip[8]+(ip[9]+(ip[10]+(ip[11]+(ip[12]+(ip[13]+(ip[14]+ip[15])))))))))))))) = 5"},
	{Ethernet, "ip[0]+(ip[1]+(ip[2]+(ip[3]+(ip[4]+(ip[5]+(ip[6]+(ip[7]+(ip[8]+(ip[9]+(ip[10]+(ip[11]+(ip[12]+(ip[13]+(ip[14]+(ip[15]+ip[16]))))))))))))))) = 5"},
	{Ethernet, "len / 0 = 1"}, {Ethernet, "len % 0 = 1"}, {Ethernet, "len / (0 + 1) = 1"}, {Ethernet, "len << 32 = 1"},
	{Ethernet, "len / (1 - 1) = 1"}, {Ethernet, "1 << (31 + 1) = 1"}, {Ethernet, "len << (31 + 1) = 1"}, {Ethernet, "1 / (1 - 1) = 1"},
	{Ethernet, "0 / len = 0"}, {Ethernet, "0 - len = 0"}, {Ethernet, "0 * len = 0"}, {Ethernet, "0 ^ len = 0"}, {Ethernet, "0 << len = 0"},
	{Ethernet, "-len = 5"}, {Ethernet, "-5 = 4294967291"}, {Ethernet, "5 = 5"}, {Ethernet, "5 != 5"}, {Ethernet, "len & 0 = 0"},
	{Ethernet, "len & 0xffffffff != 0"}, {Ethernet, "len = len"}, {Ethernet, "ip[0] = ip[0]"}, {Ethernet, "not (ip or not ip)"},
	{Ethernet, "decnet net 10.0.0.0/8"}, {Ethernet, "decnet src host 5"}, {Ethernet, "vlan and mpls 5 and mpls and ip6 and tcp port 80"},
	{Ethernet, "mpls and vlan"}, {Ethernet, "mpls and arp"}, {Ethernet, "pppoes and pppoes"}, {Ethernet, "geneve and geneve and vlan and ip"},
	{Ethernet, "geneve and ether host 1:2:3:4:5:6"}, {Ethernet, "geneve and ip protochain 6"}, {Ethernet, "geneve and tcp[0] = 1"},
	{Ethernet, "geneve and pppoes and ip6 host ::1"}, {Ethernet, "ether host nosuchname"}, {Raw, "ether host nosuchname"},
	{Ethernet, "ip6 net 2001:db8::/0"}, {Ethernet, "net ::/0"}, {Ethernet, "net 0.0.0.0/0"}, {Ethernet, "ip proto 300"},
	{ARCNET, "broadcast"}, {ARCNET, "multicast"}, {ARCNET, "link src $12"}, {ARCNET, "ip host $12"}, {ARCNETLinux, "link addr1 $12"},
	{SunATM, "lane and ether host 1:2:3:4:5:6"}, {SunATM, "lane and ip"}, {SunATM, "llc and ip"}, {SunATM, "lane and broadcast"},
	{SunATM, "lane and llc and tcp"}, {SunATM, "vpi (1 or 2) and vci > 5"}, {SunATM, "lane and pppoes and ip"},
	{IEEE80211Radio, "ip[0] = 5 and radio[0] = 1"}, {IEEE80211Radio, "ether[0] = 5"}, {Prism, "ip protochain 6"}, {PPI, "tcp and wlan ta 1:2:3:4:5:6"},
	{IEEE80211, "pppoes and ip"}, {IEEE80211AVS, "vlan and tcp port 80"}, {SLIP, "inbound"}, {SLIP, "outbound and ip"}, {IPNet, "inbound"},
	{PPPD, "outbound"}, {PFLog, "on en0 and ip and inbound"}, {MTP2, "opc 5 and hdpc != 7 or sls (1 or 2)"}, {ERF, "sio 256"},
}
