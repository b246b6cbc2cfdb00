"""Prediction of volumes by blocks, in memory or into files; no block answers as another would."""
