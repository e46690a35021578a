"""The benchmark: a generated disk, Clonezilla's own pipeline, and this program, measured in one alternating run."""
