"""The outside world at its edge: programs, files, devices."""
