"""The paper's method (section 3): one module for each box of its figure 4."""
