"""Faces people: the command line. It translates and decides nothing."""
