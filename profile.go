package asyncfile

import (
	"encoding/json"
	"fmt"
	"os"
)

// profileSchema is what a profile has to say of itself. Fields may be added to it; a new
// number means that one has changed its meaning.
const profileSchema = "asyncfile.profile/1"

// A profile is what LoadProfile reads of the file; there is more in it, for people.
type profile struct {
	Schema     string `json:"schema"`
	Backend    string `json:"backend"`
	Direct     string `json:"direct"`
	QueueDepth int    `json:"queue_depth"`
}

// LoadProfile returns the options of a profile: a JSON file that the command
// `asyncfile tune` has written after measuring a device. They are WithBackend, WithDirect and
// WithQueueDepth, for Open; a file that is opened with them has a Ring of its own. The error is
// that of os.ReadFile, or answers errors.Is for os.ErrInvalid where the file is no profile, or
// has a value that its option does not take.
func LoadProfile(name string) ([]Option, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var p profile
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, invalid("LoadProfile: %s is no profile: %v", name, err)
	}
	if p.Schema != profileSchema {
		return nil, invalid("LoadProfile: %s has schema %q, and this library reads %q: write it anew with asyncfile tune", name, p.Schema, profileSchema)
	}
	backend, known := named(p.Backend, BackendAuto, BackendAIO, BackendPool)
	direct, knownToo := named(p.Direct, DirectOff, DirectPrefer, DirectRequire)
	if !known || !knownToo {
		return nil, invalid("LoadProfile: %s has backend %q and direct %q: use auto, aio or pool, and off, prefer or require", name, p.Backend, p.Direct)
	}
	options := []Option{WithBackend(backend), WithDirect(direct), WithQueueDepth(p.QueueDepth)}
	if _, err := newConfig(options); err != nil {
		return nil, fmt.Errorf("asyncfile: LoadProfile: %s: %w", name, err)
	}
	return options, nil
}

// named returns the value whose String is name.
func named[T fmt.Stringer](name string, values ...T) (value T, ok bool) {
	for _, v := range values {
		if v.String() == name {
			return v, true
		}
	}
	return value, false
}
