"""The one way to run external programs, and files and devices as Sources and Sinks."""
