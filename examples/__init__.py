"""Programs that use the library; they are not part of it and not in the wheel."""
