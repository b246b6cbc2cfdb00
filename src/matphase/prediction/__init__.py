"""Prediction of volumes by blocks, in memory or into files."""
