"""Published datasets: one table of them, and small readers of the layouts that their publishers chose.

``table.yaml`` says of each what it holds, how it is split and prepared in the literature, and on which terms it is to
be had; ``readers`` find its scans in a folder; ``steps`` prepare them; ``writing`` makes a dataset of them. Nothing is
downloaded.
"""

from paucis.datasets.table import Protocol, Published, find, names, shipped

__all__ = ["Protocol", "Published", "find", "names", "shipped"]
