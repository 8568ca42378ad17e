"""A batch on many machines, by Ray."""

import os

os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", ".*"
)  # before Ray is there: it prints errors on standard output, which is JSON's
