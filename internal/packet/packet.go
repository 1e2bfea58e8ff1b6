package packet

// Packet is one packet on its way through a hook: the off-heap Frame programs
// see, and what only helpers and hooks need.
type Packet struct {
	*Frame
}

// Net is the network around a packet, as far as helpers ask about it. The zero
// answer of every method is what a host without that thing gives.
type Net interface{}
