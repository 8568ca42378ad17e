"""Families that are meant without being named, known without loading any network library."""

DEFAULT = "edsr"  # where none is named
ALSO = {"car": "edsr", "dpid-1": "dpid"}  # a family's other name: the paper's
FOREIGN = "zoo"  # networks of other makers, which only enlarge
RESIZERS = ("bicubic", "lanczos")  # without weights, to any size
TORCH_ALONE = ("lanczos", "l0")  # computed by Pillow, or step by step until it is settled: no graph says that
CLASSICAL = (*RESIZERS, "perceptual", "dpid", "dpid-0.5", "l0")  # without weights, at any whole scale
