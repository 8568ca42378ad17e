"""The families' names, known without loading any network library."""

FAMILIES = {
    "edsr": "content adaptive resampler with EDSR (CAR, arXiv 1907.12904)",
    "tad": "task-aware downscaling: a learned residual on the bicubic LR, restored by EDSR's body (TAD/TAU, ECCV 2018)",
    "bicubic": "bicubic down and bicubic up: the classical baseline",
    "lanczos": "Lanczos down and up: the other one",
}
DEFAULT = "edsr"  # where none is named
CLASSICAL = ("bicubic", "lanczos")  # families without weights, at any scale
