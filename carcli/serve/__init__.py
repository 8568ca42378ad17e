"""A pair behind HTTP: images in, images out."""
