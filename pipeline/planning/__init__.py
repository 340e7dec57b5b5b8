"""All that is done before the first image: plan, fingerprint, runtime, output, resume, retry."""
