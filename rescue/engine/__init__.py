"""One effectful function per kind of step: capture, deploy, verify."""
