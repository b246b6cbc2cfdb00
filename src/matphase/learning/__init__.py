"""Training of any network: examples, augmentation, splits, the training loop."""
