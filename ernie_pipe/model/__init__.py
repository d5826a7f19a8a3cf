"""The encoder (transformers' ErnieModel on packed sequences), the multi-task model, conversion in and out."""
