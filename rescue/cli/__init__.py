"""The command line: asks, shows, confirms. What is done is decided below."""
