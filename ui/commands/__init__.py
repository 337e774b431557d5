"""One module a command, each with a `command`. Heavy imports stay inside the functions."""
