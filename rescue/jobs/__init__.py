"""Runs a Plan in a process of its own: state, cancel, events, journal."""
