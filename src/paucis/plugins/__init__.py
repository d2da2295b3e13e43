"""What any method can carry: a loss on its features, or blocks in its networks."""

from paucis.plugins import pdcr, uafs
from paucis.plugins.base import PLUGINS, Plugin, register
from paucis.plugins.pdcr import dragsaw_of_maps
from paucis.plugins.uafs import select_features
from paucis.plugins.vector_grid import vector_grid
from paucis.plugins.window_ratios import class_ratios

__all__ = [
    "PLUGINS",
    "Plugin",
    "class_ratios",
    "dragsaw_of_maps",
    "pdcr",
    "register",
    "select_features",
    "uafs",
    "vector_grid",
]
