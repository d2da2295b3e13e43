"""Segment medical images from few labels, know where the model is unsure, and choose which scan to label next."""

__version__ = "0.1.0"
