"""The Beam program: image datasets in, token shards out."""
