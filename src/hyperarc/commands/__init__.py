"""One file per verb: how the parts join, nothing else."""
