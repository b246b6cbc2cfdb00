"""The networks: each is a plain `torch.nn.Module` in its own file."""
