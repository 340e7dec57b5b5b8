"""Terminal output of commands: one-line errors, progress, columns."""
