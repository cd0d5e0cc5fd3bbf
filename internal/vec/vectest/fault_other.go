//go:build !linux

package vectest

import "testing"

const skipped = "faulting memory is made only on Linux"

// ReadOnly skips the test.
func ReadOnly(tb testing.TB, _ []byte) []byte { tb.Skip(skipped); return nil }

// PastEnd skips the test.
func PastEnd(tb testing.TB, _ int) []byte { tb.Skip(skipped); return nil }

// Hole skips the test.
func Hole(tb testing.TB, _ int) []byte { tb.Skip(skipped); return nil }

// Reserved skips the test.
func Reserved(tb testing.TB, _ int) []byte { tb.Skip(skipped); return nil }
