"""Pure functions over text, imported by Spark executors: no torch, no transformers, no pydantic, no pyspark."""
