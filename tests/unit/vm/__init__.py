"""The test bench itself, as far as it needs no machine."""
