"""The Beam program that tokenizes image datasets into shards of token records."""
