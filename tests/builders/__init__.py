"""What several tests build: datasets in every format, image files, jobs; shared fixtures."""
