package ui

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// WriteFile writes data to the file name, which appears under that name only
// when it is whole. A device or a pipe is written to as it is.
func WriteFile(name string, data []byte) error {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(name, data, 0o666)
	}
	temp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%08x", filepath.Base(name), rand.Uint32()))
	if err := os.WriteFile(temp, data, 0o666); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}
