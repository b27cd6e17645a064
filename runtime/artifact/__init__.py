"""The artifact file: its spec, digest, fingerprints, external weights and self-test."""
