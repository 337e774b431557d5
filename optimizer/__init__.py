"""Thinks: what a task says, what to try next, what a measurement is worth, which params won.

Nothing here starts a process, opens a socket or reads the clock; the one thing it touches
outside itself is Optuna's storage, in `study`.
"""
