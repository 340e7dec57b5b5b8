"""The fixtures of all tests, those of the examples too."""

pytest_plugins = ["builders.fixtures"]
