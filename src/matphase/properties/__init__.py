"""What a battery researcher measures on a labelled volume; knows nothing of networks.

`measure.measure_labelled` measures all of it. The other modules hold one kind of property each, as
functions of arrays that can be used alone.
"""
