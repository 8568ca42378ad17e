"""The machine: devices, files, memory, threads."""
