"""The work folder of an unfinished job: unit files, accounting, signals, progress."""
