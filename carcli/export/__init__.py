"""Networks as files of ONNX, which run without torch: a network's graph, what the file says of itself, and the files."""
