"""The method of the paper (section 3), one module a box of its figure 4, left to right."""
