"""Many images: which, how, in what order, and what became of each."""

from carcli.batch.batch import Batch, run
from carcli.batch.estimate import Estimate
from carcli.batch.job import Job, Result
from carcli.batch.observer import Observer
from carcli.batch.options import Options
from carcli.batch.tasks import Down, Up
from carcli.rescale.refinement import Refinement
from carcli.rescale.resolve import Request
from carcli.rescale.sizes import Target

__all__ = ["Batch", "Down", "Estimate", "Job", "Observer", "Options", "Refinement", "Request", "Result", "Target", "Up", "run"]
