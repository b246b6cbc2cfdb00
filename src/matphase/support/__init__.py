"""Tools that every room needs: errors, files, progress, seeds, settings, devices."""
