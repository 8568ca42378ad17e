"""Image files, pixels, the tag, and how two images compare."""
