"""The work itself as plain functions, without Beam: encode units, merge shards, finalize."""
