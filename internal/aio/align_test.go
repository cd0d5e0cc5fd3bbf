package aio

import "testing"

func TestAlignedSlice(t *testing.T) {
	for _, align := range []int{1, 2, 8, 64, 512, 4096, 1 << 16} {
		for _, size := range []int{0, 1, 7, 512, 4096, 5000} {
			p := AlignedSlice(size, align)
			if len(p) != size || cap(p) != size {
				t.Errorf("AlignedSlice(%d, %d): len %d, cap %d", size, align, len(p), cap(p))
			}
			if !IsAligned(p, align) {
				t.Errorf("AlignedSlice(%d, %d) is not aligned", size, align)
			}
		}
	}
	if p := AlignedSlice(3, 0); len(p) != 3 {
		t.Errorf("AlignedSlice(3, 0) has %d bytes", len(p))
	}
}

func TestIsAligned(t *testing.T) {
	p := AlignedSlice(1024, 512)
	for _, c := range []struct {
		p     []byte
		align int
		want  bool
	}{
		{p, 512, true},
		{p, 1, true},
		{p[512:], 512, true},
		{p[1:], 2, false},
		{p[1:], 1, true},
		{p[256:], 512, false},
		{p[256:], 256, true},
		{p[1:1], 512, true},
		{nil, 512, true},
	} {
		if got := IsAligned(c.p, c.align); got != c.want {
			t.Errorf("IsAligned(%d bytes, %d) = %v", len(c.p), c.align, got)
		}
	}
}

func TestFSTypeString(t *testing.T) {
	seen := map[string]FSType{}
	for _, fs := range []FSType{Bcachefs, Btrfs, Ceph, CIFS, EROFS, ExFAT, Ext4,
		F2FS, FAT, FUSE, GFS2, Hugetlbfs, NFS, OCFS2, Overlayfs, Proc, Ramfs, SMB2,
		Squashfs, Sysfs, Tmpfs, V9FS, XFS, ZFS} {
		name := fs.String()
		if other, ok := seen[name]; ok || name[0] == '0' {
			t.Errorf("%#x is called %q, as is %#x", int64(fs), name, int64(other))
		}
		seen[name] = fs
	}
	if seen["ext4"] != Ext4 || seen["xfs"] != XFS || seen["btrfs"] != Btrfs {
		t.Errorf("names are %v", seen)
	}
	if got := FSType(0xcafe4a11).String(); got != "0xcafe4a11" {
		t.Errorf("unknown type is called %q", got)
	}
}
