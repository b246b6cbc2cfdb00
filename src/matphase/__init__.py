"""MatPhase: phase prediction for X-ray tomography of battery electrodes."""
