"""The families' names, known without loading any network library."""

FAMILIES = {
    "edsr": "content adaptive resampler with EDSR (CAR, arXiv 1907.12904)",
    "bicubic": "bicubic down and bicubic up: the classical baseline",
}
