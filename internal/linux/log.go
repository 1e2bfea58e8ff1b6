package linux

import "strings"

// lastLine returns the line of a verifier log that says why: the last one that
// is neither empty nor statistics.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimRight(log, "\x00\n "), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		l := strings.TrimSpace(lines[i])
		if l == "" || isStatistic(l) {
			continue
		}
		return l
	}
	return ""
}

// isStatistic reports whether a log line is one the verifier prints after its verdict.
func isStatistic(line string) bool {
	for _, p := range []string{"processed ", "verification time ", "stack depth ", "max_states_per_insn "} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}
