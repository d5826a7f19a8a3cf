"""ernie_pipe: from raw Chinese text to a fine-tuned encoder, with masking of words, phrases and entities."""

__version__ = "0.1.0"
