"""Everything before the first image is read: plan, fingerprint, runtime, output, resume, retry."""
