package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A place is where a test file is.
type place struct {
	name    string
	file    string
	size    int64
	about   string
	missing string // why it cannot be had here, "" if it can
	close   func() // removes what was made for it
}

// cachedSize is how much of a file cached cells work on.
const cachedSize = 64 << 20

// smallSize is the size of the files that are in memory.
const smallSize = 256 << 20

// makePlaces makes the named places. It cleans up itself when it fails.
func makePlaces(names map[string]bool, dir string, size int64) ([]*place, error) {
	var places []*place
	for _, p := range []struct {
		name string
		make func(*place) error
	}{
		{"disk", func(p *place) error { return p.makeFile(dir, size) }},
		{"tmpfs", func(p *place) error { return p.makeTmpfs() }},
		{"loop", func(p *place) error { return p.makeLoop(dir) }},
	} {
		if !names[p.name] {
			continue
		}
		made := &place{name: p.name, close: func() {}}
		places = append(places, made)
		if err := p.make(made); err != nil {
			if p.name == "disk" {
				closePlaces(places)
				return nil, err
			}
			made.close()
			made.close = func() {}
			made.missing = err.Error()
		}
	}
	return places, nil
}

func closePlaces(places []*place) {
	for _, p := range places {
		p.close()
	}
}

// makeFile makes the test file: written out, since reads of holes and of
// unwritten extents never reach the device.
func (p *place) makeFile(dir string, size int64) error {
	f, err := os.CreateTemp(dir, "asyncfile-bench-*")
	if err != nil {
		return err
	}
	p.file, p.size = f.Name(), size
	p.close = func() { os.Remove(p.file) }
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{7}), size)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		p.close()
		p.close = func() {}
		return err
	}
	p.about = fmt.Sprintf("%s file, %s", sizeName(size), describe(p.file))
	return tryDirect(p.file)
}

// tryDirect reports why a file cannot be read with O_DIRECT.
func tryDirect(name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("no O_DIRECT: %w", err)
	}
	return f.Close()
}

const sharedMemory = "/dev/shm"

func (p *place) makeTmpfs() error {
	if err := isTmpfs(sharedMemory); err != nil {
		return err
	}
	return p.makeFile(sharedMemory, smallSize)
}

func isTmpfs(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("no tmpfs at %s: %w", dir, err)
	}
	if st.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is not tmpfs", dir)
	}
	if free := int64(st.Bavail) * st.Bsize; free < 3*smallSize {
		return fmt.Errorf("%s has %s free only", dir, sizeName(free))
	}
	return nil
}

// makeLoop makes a loop device over a file in memory, so that what is measured
// is the block layer and not a disk once more.
func (p *place) makeLoop(dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("a loop device needs root")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		return errors.New("losetup is not installed")
	}
	if isTmpfs(sharedMemory) == nil {
		dir = sharedMemory
	}
	if err := p.makeFile(dir, smallSize); err != nil {
		return err
	}
	backing := p.file
	out, err := exec.Command("losetup", "--find", "--show", backing).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, bytes.TrimSpace(out))
	}
	p.file = strings.TrimSpace(string(out))
	p.close = func() {
		exec.Command("losetup", "--detach", p.file).Run()
		os.Remove(backing)
	}
	p.about = fmt.Sprintf("%s loop device over a file on %s%s", sizeName(smallSize), fileSystem(backing), queueOf(filepath.Base(p.file)))
	return nil
}

// describe returns file system, device and the device's queue.
func describe(name string) string {
	about := fileSystem(name)
	var st unix.Stat_t
	if unix.Stat(name, &st) != nil {
		return about
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return about
	}
	device := filepath.Base(link)
	if _, err := os.Stat("/sys/block/" + device); err != nil { // a partition
		device = filepath.Base(filepath.Dir(link))
	}
	return about + " on " + device + queueOf(device)
}

// queueOf returns what the block layer says of a device.
func queueOf(device string) string {
	nr, err := os.ReadFile("/sys/block/" + device + "/queue/nr_requests")
	if err != nil {
		return ""
	}
	about := ", nr_requests " + string(bytes.TrimSpace(nr))
	sched, err := os.ReadFile("/sys/block/" + device + "/queue/scheduler")
	if err == nil {
		if _, rest, ok := bytes.Cut(sched, []byte("[")); ok {
			if name, _, ok := bytes.Cut(rest, []byte("]")); ok {
				about += ", scheduler " + string(name)
			}
		}
	}
	return about
}

func fileSystem(name string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return "unknown file system"
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return "file system 0x" + strconv.FormatUint(uint64(uint32(st.Type)), 16)
}
