"""Shape-guided segmentation: without any label, the cluster whose shape passes for that of reference masks."""

from paucis.methods.shape_guided.method import ShapeGuided, collapse
from paucis.methods.shape_guided.options import CLUSTERING, SHAPES, ShapeGuidedOptions

__all__ = ["CLUSTERING", "SHAPES", "ShapeGuided", "ShapeGuidedOptions", "collapse"]
