"""Image files: their format, the writer and the reader."""
