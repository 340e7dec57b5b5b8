"""Programs that use the library as anybody would; no part of it, and not in the wheel."""
