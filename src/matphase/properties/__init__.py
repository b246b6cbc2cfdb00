"""Electrode properties of a labelled volume, with their errors; independent of networks.

`front` is `mp.measure`; `plan` chooses what to measure and `measure` measures it, group by group.
`groups` has one module per group of properties and `catalogue` a line per property: a new property
goes into both. The other modules compute one kind of quantity each, on arrays. `corrections`
corrects values by validation slices, `sampling` has the error of a finite volume, and `export`
writes parameters of battery models.
"""
