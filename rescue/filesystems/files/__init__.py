"""Files inside a file system that is given as a Source: listed and read without root and without mounting.

ext2/3/4, xfs, NTFS, FAT and exFAT are read by bounded readers of this package, written from the on-disk structures. What is
on PyPI was tried first and does not serve: the readers of ``dissect`` put the data of a file at the wrong place where an
unwritten extent follows a hole, cut inline data at 60 bytes and read no xattrs of xfs; those of libyal and The Sleuth Kit
give no ACLs, and being C in the process of the command, a hostile image that crashes them takes the interface down.

btrfs, f2fs and the others are mounted, and the folder is read through the same protocol
(:class:`~rescue.filesystems.files.mounted.MountedTree`).
"""
