"""The performance harness: subjects in namespaces, probes, interleaved rounds, statistics."""
