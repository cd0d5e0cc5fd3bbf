package aio

import "strconv"

// An FSType is the f_type of statfs(2): which file system a file is on.
type FSType int64

// The file systems whose direct I/O is known to differ, and the common ones
// beside them (include/uapi/linux/magic.h and the file systems' own headers).
const (
	Bcachefs  FSType = 0xca451a4e
	Btrfs     FSType = 0x9123683e
	Ceph      FSType = 0x00c36400
	CIFS      FSType = 0xff534d42
	EROFS     FSType = 0xe0f5e1e2
	ExFAT     FSType = 0x2011bab0
	Ext4      FSType = 0xef53 // ext2 and ext3 share it
	F2FS      FSType = 0xf2f52010
	FAT       FSType = 0x4d44
	FUSE      FSType = 0x65735546
	GFS2      FSType = 0x01161970
	Hugetlbfs FSType = 0x958458f6
	NFS       FSType = 0x6969
	OCFS2     FSType = 0x7461636f
	Overlayfs FSType = 0x794c7630
	Proc      FSType = 0x9fa0
	Ramfs     FSType = 0x858458f6
	SMB2      FSType = 0xfe534d42
	Squashfs  FSType = 0x73717368
	Sysfs     FSType = 0x62656572
	Tmpfs     FSType = 0x01021994
	V9FS      FSType = 0x01021997
	XFS       FSType = 0x58465342
	ZFS       FSType = 0x2fc12fc1
)

// String returns the name that mount(8) uses, or the number in hexadecimal.
func (t FSType) String() string {
	switch t {
	case Bcachefs:
		return "bcachefs"
	case Btrfs:
		return "btrfs"
	case Ceph:
		return "ceph"
	case CIFS:
		return "cifs"
	case EROFS:
		return "erofs"
	case ExFAT:
		return "exfat"
	case Ext4:
		return "ext4"
	case F2FS:
		return "f2fs"
	case FAT:
		return "vfat"
	case FUSE:
		return "fuse"
	case GFS2:
		return "gfs2"
	case Hugetlbfs:
		return "hugetlbfs"
	case NFS:
		return "nfs"
	case OCFS2:
		return "ocfs2"
	case Overlayfs:
		return "overlay"
	case Proc:
		return "proc"
	case Ramfs:
		return "ramfs"
	case SMB2:
		return "smb3"
	case Squashfs:
		return "squashfs"
	case Sysfs:
		return "sysfs"
	case Tmpfs:
		return "tmpfs"
	case V9FS:
		return "9p"
	case XFS:
		return "xfs"
	case ZFS:
		return "zfs"
	}
	return "0x" + strconv.FormatUint(uint64(t), 16)
}
