"""From labelled slices to what the stages train on: splits, augmentation, smoothing, weights."""
