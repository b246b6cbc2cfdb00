"""Volumes, annotations, phases, grey scales and tiles; `formats/` reads and writes files."""
