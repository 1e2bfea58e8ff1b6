//go:build !linux

package mem

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Shared is a file in memory that several processes map. There are none here.
type Shared struct{}

// ErrNotShared says that a file is not one that [NewShared] or [NewSealed] made.
var ErrNotShared = fmt.Errorf("memory shared between processes is for Linux: %w", errors.ErrUnsupported)

// NewShared fails.
func NewShared(int64) (*Shared, error) { return nil, ErrNotShared }

// NewSealed fails.
func NewSealed([]byte) (*Shared, error) { return nil, ErrNotShared }

// OpenShared fails.
func OpenShared(*os.File) (*Shared, error) { return nil, ErrNotShared }

// The rest has no Shared to be called on.

func (s *Shared) Hand() (*os.File, error)                      { return nil, ErrNotShared }
func (s *Shared) Size() int64                                  { return 0 }
func (s *Shared) Sealed() bool                                 { return false }
func (s *Shared) Close()                                       {}
func (s *Shared) ReadAt([]byte, int64) (int, error)            { return 0, ErrNotShared }
func (s *Shared) Map(int64, int) (*Block, error)               { return nil, ErrNotShared }
func (s *Shared) MapRing(int, int64, int, int) (*Block, error) { return nil, ErrNotShared }
func (s *Shared) TakeSeat(int) (int, error)                    { return 0, ErrNotShared }
func (s *Shared) Seated(int) bool                              { return false }

// WaitWord does nothing here.
func WaitWord(*uint32, uint32, time.Duration) {}

// WakeWord does nothing here.
func WakeWord(*uint32) {}
