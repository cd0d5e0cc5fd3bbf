package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Every profile of values that the options take gives those options.
func TestLoadProfile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "profile.json")
	for _, backend := range []Backend{BackendAuto, BackendAIO, BackendPool} {
		for _, direct := range []DirectMode{DirectOff, DirectPrefer, DirectRequire} {
			for _, depth := range []int{1, 32, 4096} {
				text := fmt.Sprintf(`{"schema": "asyncfile.profile/1", "backend": %q, "direct": %q, "queue_depth": %d, "more": [1]}`, backend, direct, depth)
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				options, err := LoadProfile(name)
				if err != nil {
					t.Fatal(err)
				}
				c, err := newConfig(options)
				if err != nil || c.direct != direct || c.depth != depth || backend != BackendAuto && c.backend != backend {
					t.Errorf("%s: %+v, %v", text, c, err)
				}
			}
		}
	}
}

func TestLoadProfileRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadProfile(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent profile: %v", err)
	}
	good := `{"schema": "asyncfile.profile/1", "backend": "aio", "direct": "prefer", "queue_depth": 8}`
	for i, text := range []string{
		"", "{", "[]", `{}`, good[:len(good)-1],
		`{"schema": "asyncfile.profile/2", "backend": "aio", "direct": "prefer", "queue_depth": 8}`,
		`{"schema": "asyncfile.profile/1", "backend": "io_uring", "direct": "prefer", "queue_depth": 8}`,
		`{"schema": "asyncfile.profile/1", "backend": "aio", "direct": "yes", "queue_depth": 8}`,
		`{"schema": "asyncfile.profile/1", "backend": "aio", "direct": "prefer", "queue_depth": 0}`,
		`{"schema": "asyncfile.profile/1", "backend": "aio", "direct": "prefer", "queue_depth": "8"}`,
	} {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if options, err := LoadProfile(name); !errors.Is(err, os.ErrInvalid) || options != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
