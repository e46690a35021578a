"""Builds the live ISO. Standard library only: it runs on a bare machine."""
