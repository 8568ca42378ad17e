"""A page that restores LR images in a browser, with nothing but static files behind it."""
