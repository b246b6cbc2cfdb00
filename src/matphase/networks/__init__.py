"""The networks; each a plain `torch.nn.Module` in a file of its own."""
