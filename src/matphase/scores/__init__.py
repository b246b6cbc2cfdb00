"""How good a segmentation is: metrics, evaluation, validation, bootstrap."""
