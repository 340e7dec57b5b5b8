"""The stages of a job as plain functions without Beam: encode units, merge shards, finalize."""
