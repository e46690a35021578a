"""Frozen values, pure: what a disk, a layout, an extent, a plan and a progress report are."""
