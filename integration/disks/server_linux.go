package disks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Server serves a file system of files in memory, in this process, by way of
// FUSE. It can leave requests unanswered, as a server of NFS that has gone away
// does.
type Server struct {
	Dir string // where it is mounted

	fd    int
	mu    sync.Mutex
	nodes map[uint64]*node
	last  uint64
	hung  map[uint32]bool // operations that are not answered
	held  []request       // and those that came
}

type node struct {
	name string
	data []byte
}

// Operations, as in struct fuse_in_header, include/uapi/linux/fuse.h.
const (
	opLookup  = 1
	opForget  = 2
	opGetattr = 3
	opSetattr = 4
	opUnlink  = 10
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opStatfs  = 17
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
	opCreate  = 35
	opIntr    = 36
	opDestroy = 38
	opForgets = 42
)

const rootNode = 1

// maxWrite is the most bytes of one write request.
const maxWrite = 128 << 10

// NewServer mounts an empty file system of its own, until the test ends.
func NewServer(t testing.TB) *Server {
	t.Helper()
	NeedsRoot(t)
	s := &Server{Dir: filepath.Join(t.TempDir(), "fuse"), nodes: map[uint64]*node{rootNode: {}}, last: rootNode}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.fd, err = syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		Unable(t, "/dev/fuse: %v", err)
	}
	// What waits for an answer cannot be killed. If it never comes, the mount is
	// taken away by force.
	over := guard(t, `timeout 60 cat; umount --no-canonicalize --force "$0" || umount --no-canonicalize --lazy "$0"`, s.Dir)
	if err := syscall.Mount("asyncfile", s.Dir, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("fd=%d", s.fd)+",rootmode=40000,user_id=0,group_id=0"); err != nil {
		syscall.Close(s.fd)
		Unable(t, "mount of FUSE: %v", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); s.serve() }()
	t.Cleanup(func() {
		s.Answer()
		if err := syscall.Unmount(s.Dir, 0); err != nil {
			t.Errorf("umount %s: %v", s.Dir, err)
			syscall.Unmount(s.Dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		}
		<-ended
		syscall.Close(s.fd)
		over()
	})
	s.declinePoll(t)
	return s
}

// declinePoll has the kernel ask once whether files can be polled, and learn that
// they cannot. Otherwise it would ask when package os gives a file to the network
// poller, with a lock held that the scheduler needs, which the answer needs.
func (s *Server) declinePoll(t testing.TB) {
	t.Helper()
	name := filepath.Join(s.Dir, "poll")
	fd, err := syscall.Open(name, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Unlink(name)
	defer syscall.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}

// Hang has reads, writes, fsync and questions for a file's size wait for Answer.
func (s *Server) Hang() { s.hang(opRead, opWrite, opFsync, opGetattr) }

// HangSize has only questions for a file's size wait for Answer.
func (s *Server) HangSize() { s.hang(opGetattr) }

func (s *Server) hang(ops ...uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung = make(map[uint32]bool)
	for _, op := range ops {
		s.hung[op] = true
	}
	s.answerHeld()
}

// Answer has the server answer everything, what it holds first.
func (s *Server) Answer() { s.hang() }

// Held returns how many requests wait for Answer.
func (s *Server) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// answerHeld answers what is held and no longer to be. Called with mu held.
func (s *Server) answerHeld() {
	held := s.held
	s.held = nil
	for _, r := range held {
		s.take(r)
	}
}

// A request is what the kernel asks: struct fuse_in_header and what follows.
type request []byte

func (r request) op() uint32         { return binary.LittleEndian.Uint32(r[4:]) }
func (r request) unique() uint64     { return binary.LittleEndian.Uint64(r[8:]) }
func (r request) node() uint64       { return binary.LittleEndian.Uint64(r[16:]) }
func (r request) u32(at int) uint32  { return binary.LittleEndian.Uint32(r[40+at:]) }
func (r request) u64(at int) uint64  { return binary.LittleEndian.Uint64(r[40+at:]) }
func (r request) rest(at int) []byte { return r[40+at:] }
func (r request) name(at int) string { p := r.rest(at); return string(p[:len(p)-1]) }
func (r request) needsNoAnswer() bool {
	return r.op() == opForget || r.op() == opForgets || r.op() == opIntr
}

// serve answers the kernel until the file system is unmounted.
func (s *Server) serve() {
	buf := make([]byte, maxWrite+4096)
	for {
		n, err := syscall.Read(s.fd, buf)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
			continue
		case err != nil: // ENODEV
			return
		}
		s.mu.Lock()
		s.take(append(request(nil), buf[:n]...))
		s.mu.Unlock()
	}
}

// take answers a request, or holds it. Called with mu held.
func (s *Server) take(r request) {
	switch {
	case r.needsNoAnswer():
	case s.hung[r.op()]:
		s.held = append(s.held, r)
	default:
		body, errno := s.do(r)
		if errno != 0 {
			body = nil
		}
		answer := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
		answer = binary.LittleEndian.AppendUint32(answer, uint32(-int32(errno)))
		answer = binary.LittleEndian.AppendUint64(answer, r.unique())
		syscall.Write(s.fd, append(answer, body...))
	}
}

// do carries a request out. Called with mu held.
func (s *Server) do(r request) ([]byte, syscall.Errno) {
	n := s.nodes[r.node()]
	if n == nil && r.op() != opInit && r.op() != opDestroy {
		return nil, syscall.ESTALE
	}
	switch r.op() {
	case opInit:
		const asyncRead, bigWrites, asyncDirect = 1 << 0, 1 << 5, 1 << 15
		out := make([]byte, 64)
		binary.LittleEndian.PutUint32(out, 7)
		binary.LittleEndian.PutUint32(out[4:], 31)
		binary.LittleEndian.PutUint32(out[8:], r.u32(8)) // read-ahead
		binary.LittleEndian.PutUint32(out[12:], r.u32(12)&(asyncRead|bigWrites|asyncDirect))
		binary.LittleEndian.PutUint32(out[20:], maxWrite)
		binary.LittleEndian.PutUint32(out[24:], 1) // granularity of times, in ns
		return out, 0
	case opLookup:
		if id := s.find(r.name(0)); id != 0 {
			return s.entry(id), 0
		}
		return nil, syscall.ENOENT
	case opCreate:
		s.last++
		s.nodes[s.last] = &node{name: r.name(16)}
		return append(s.entry(s.last), make([]byte, 16)...), 0
	case opUnlink:
		id := s.find(r.name(0))
		if id == 0 {
			return nil, syscall.ENOENT
		}
		s.nodes[id].name = "" // who has it open has it still
		return nil, 0
	case opGetattr:
		return append(make([]byte, 16), s.attributes(r.node())...), 0
	case opSetattr:
		const size = 1 << 3
		if r.u32(0)&size != 0 {
			n.resize(int(r.u64(16)))
		}
		return append(make([]byte, 16), s.attributes(r.node())...), 0
	case opOpen:
		return make([]byte, 16), 0
	case opRead:
		off := min(int(r.u64(8)), len(n.data))
		return n.data[off:min(off+int(r.u32(16)), len(n.data))], 0
	case opWrite:
		off, size := int(r.u64(8)), int(r.u32(16))
		n.resize(max(len(n.data), off+size))
		copy(n.data[off:], r.rest(40)[:size])
		return binary.LittleEndian.AppendUint64(nil, uint64(size)), 0
	case opStatfs:
		return make([]byte, 80), 0
	case opRelease, opFsync, opFlush, opDestroy:
		return nil, 0
	}
	return nil, syscall.ENOSYS
}

func (s *Server) find(name string) uint64 {
	for id, n := range s.nodes {
		if n.name == name && id != rootNode {
			return id
		}
	}
	return 0
}

func (n *node) resize(size int) {
	n.data = append(n.data[:min(size, len(n.data))], make([]byte, max(size-len(n.data), 0))...)
}

// entry is struct fuse_entry_out. Nothing in it is valid for any time: the kernel
// asks again.
func (s *Server) entry(id uint64) []byte {
	out := make([]byte, 40)
	binary.LittleEndian.PutUint64(out, id)
	return append(out, s.attributes(id)...)
}

// attributes is struct fuse_attr.
func (s *Server) attributes(id uint64) []byte {
	mode, size := uint32(syscall.S_IFREG|0o600), len(s.nodes[id].data)
	if id == rootNode {
		mode = syscall.S_IFDIR | 0o700
	}
	out := make([]byte, 88)
	binary.LittleEndian.PutUint64(out, id)
	binary.LittleEndian.PutUint64(out[8:], uint64(size))
	binary.LittleEndian.PutUint64(out[16:], uint64(size+511)/512)
	binary.LittleEndian.PutUint32(out[60:], mode)
	binary.LittleEndian.PutUint32(out[64:], 1) // links
	binary.LittleEndian.PutUint32(out[80:], 4096)
	return out
}
