"""Values that every layer passes on: units, records, rejects, the hardware kind."""
