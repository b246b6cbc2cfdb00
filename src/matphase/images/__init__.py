"""Volumes, phases, grey scales, neighbouring slices, tiles; `formats/` reads and writes files."""
