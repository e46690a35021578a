"""The text interface: asks, shows, confirms. Plans come from the Machine, work is done by its jobs."""
