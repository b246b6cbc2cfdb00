"""Methods side by side on electrodes whose truth is known, and how far to trust the outcome."""
