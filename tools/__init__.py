"""Tools of the developers: fault injection, fuzzing, memory, data for tests."""
