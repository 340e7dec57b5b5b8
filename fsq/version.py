"""Version of the package, in a module of its own that the build reads without imports."""

__version__ = "0.1.0"
