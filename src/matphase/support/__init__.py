"""Errors, files, progress, seeds, devices: what every room needs."""
