"""Figures and tables of predictions and measurements."""
