"""Measures: what the job, the layer and reading cost, beside other ways to do the same."""
