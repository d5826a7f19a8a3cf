"""What lies on disk: schemas, manifests, storage and the memory-mapped reader of passages."""
