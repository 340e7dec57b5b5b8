"""Values shared by all layers: units, records, rejects, the hardware kind."""
