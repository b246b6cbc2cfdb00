"""Metrics of a segmentation and of its uncertainty, one module per kind of metric.

Labels are phase indices 0..n-1; pixels whose truth is `IGNORE_INDEX` do not count. A metric that
the data do not define (the F1 of a phase that occurs nowhere, for example) is NaN, never 0 or 1.
"""
