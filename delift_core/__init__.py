"""DELIFT Studio's core: choose the part of an instruction data set that is worth fine-tuning on."""

__version__ = "0.2.0"
