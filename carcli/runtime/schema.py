"""The version of the names in all lines of JSON: what ``--json`` prints, a batch's journal, and a training run's log."""

SCHEMA = 1  # another number once a name goes, or says something else
