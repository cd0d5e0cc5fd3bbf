package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// escape is what the kernel does to names in mountinfo (mangle, fs/proc_namespace.c).
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}

// Any name comes back, whatever is in it and whatever lines stand around it.
func TestParseMount(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune(" \t\n\\/ab0é#-")
	name := func() string {
		s := "/"
		for range random.IntN(12) {
			s += string(letters[random.IntN(len(letters))])
		}
		return s
	}
	for range 200 {
		var text strings.Builder
		want := map[uint64]Mount{}
		for id := range uint64(5) {
			m := Mount{name(), name(), "rw,relatime"}
			want[id] = m
			optional := strings.Repeat(" shared:1", random.IntN(3))
			fmt.Fprintf(&text, "%d 1 8:%d / %s %s%s - ext4 %s rw\n", id, id, escape(m.Point), m.Options, optional, escape(m.Source))
		}
		for id, m := range want {
			if got := parseMount(text.String(), id); got != m {
				t.Fatalf("mount %d of\n%s= %+v, want %+v", id, text.String(), got, m)
			}
		}
		if got := parseMount(text.String(), 99); got != (Mount{}) {
			t.Fatalf("a mount that is not there: %+v", got)
		}
	}
}

// Limits of both versions of cgroups come back, those of other devices do not.
func TestThrottles(t *testing.T) {
	limits := []struct{ v1, v2, name string }{
		{"read_bps", "rbps", "read bytes/s"}, {"write_bps", "wbps", "write bytes/s"},
		{"read_iops", "riops", "read requests/s"}, {"write_iops", "wiops", "write requests/s"},
	}
	for set := range 1 << len(limits) {
		dir := t.TempDir()
		var want []Throttle
		line := "254:0"
		for i, l := range limits {
			value := int64(1000 * (i + 1))
			text, pair := "8:0 7\n", "max"
			if set&(1<<i) != 0 {
				text += fmt.Sprintf("254:0 %d\n", value)
				pair = fmt.Sprint(value)
				want = append(want, Throttle{"/a", l.name, value})
			}
			line += " " + l.v2 + "=" + pair
			if err := os.WriteFile(filepath.Join(dir, "blkio.throttle."+l.v1+"_device"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := readBlkio(dir, "254:0", "/a"); !reflect.DeepEqual(got, want) {
			t.Errorf("version 1: %+v, want %+v", got, want)
		}
		if got := parseMax("8:0 rbps=7 wbps=7 riops=7 wiops=7\n"+line+"\n", "254:0", "/a"); !reflect.DeepEqual(got, want) {
			t.Errorf("version 2, %s: %+v, want %+v", line, got, want)
		}
	}
	mounts := cgroupMounts("1 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n1 2 0:4 / /sys/fs/cgroup/x rw - cgroup cgroup rw,blkio\n1 2 0:5 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
	if want := map[string]string{"": "/sys/fs/cgroup/unified", "blkio": "/sys/fs/cgroup/x"}; !reflect.DeepEqual(mounts, want) {
		t.Errorf("cgroupMounts = %v, want %v", mounts, want)
	}
}

func TestChosen(t *testing.T) {
	for line, want := range map[string]string{"[none] mq-deadline": "none", "none [bfq]": "bfq", "none": "none", "": ""} {
		if got := chosen(line); got != want {
			t.Errorf("chosen(%q) = %q, want %q", line, got, want)
		}
	}
}

// Whatever is refused, the errno can be asked for, and where a sandbox could be the
// reason the error says so.
func TestRefusal(t *testing.T) {
	for _, call := range []string{"io_setup", "io_submit", "io_getevents", "io_uring_setup"} {
		for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EAGAIN, syscall.ENOMEM, syscall.EINVAL, syscall.ETIMEDOUT} {
			for _, seccomp := range []string{"", "off", "filter"} {
				for _, disabled := range []int{-1, 0, 1, 2} {
					s := Sandbox{"docker", seccomp, disabled}
					err := s.refusal(call, errno)
					if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), call+": "+errno.Error()) {
						t.Errorf("%s, %v, %+v: %v", call, errno, s, err)
					}
					reason := ""
					switch denied := errno == syscall.EPERM || errno == syscall.EACCES; {
					case call == "io_setup" && errno == syscall.EAGAIN:
						reason = "fs.aio-max-nr"
					case call == "io_uring_setup" && errno == syscall.EPERM && disabled > 0:
						reason = fmt.Sprint("io_uring_disabled is ", disabled)
					case seccomp == "filter" && (denied || errno == syscall.ENOSYS):
						reason = "seccomp filter of the docker container"
					case denied:
						reason = "security module"
					case errno == syscall.ENOSYS:
						reason = "built without"
					}
					if !strings.Contains(err.Error(), reason) {
						t.Errorf("%s, %v, %+v: %v, want it to say %q", call, errno, s, err, reason)
					}
				}
			}
		}
	}
	if err := (Sandbox{}).refusal("io_setup", syscall.EPERM); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v does not answer fs.ErrPermission", err)
	}
}
