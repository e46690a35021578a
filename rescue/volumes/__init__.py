"""Volumes inside of volumes: LUKS, LVM, md. Their own structures are read; nothing is activated and nothing is written."""
