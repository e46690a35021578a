"""Boots real machines in QEMU: the rescue system itself, and the Debian that it saves and brings back."""
