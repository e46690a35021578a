"""The disk in an image as a network block device on a socket of this machine."""
