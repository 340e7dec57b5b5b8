"""Benchmarks of the job, the layer and the readers, against other ways to do the same."""
