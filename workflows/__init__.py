"""Does: the steps of a trial, the ways to run them, deployers, the benchmark and storage.

Nothing here decides what to try or who won (the optimizer does) or talks to a person (ui does).
"""
