"""What a command shows: one line per error, progress, results in columns."""
