"""How any network is trained: examples, augmentation, splits, the training loop."""
