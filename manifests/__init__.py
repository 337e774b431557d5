"""Writes down: params become Kubernetes objects, a launch script and a report.

Pure: the same input gives the same bytes. Nothing is applied, nothing is written to disk here.
"""
