"""DICOM as one of the formats: what may stand for a scan, and the door to what reads and writes it.

A scan is named by a file (all its frames), by a folder that holds one series of images at any depth, or, where a
folder holds several, by ``FOLDER#SERIES-INSTANCE-UID``. A mask is a segmentation object, whose segment numbers
``FILE#1=2,2=1`` renumbers, or an image of class numbers.

pydicom and highdicom are an extra of the package, and loaded when a DICOM file is met.
"""

from paucis.data.dicom.addresses import fits, fragment, is_address, renumber
from paucis.data.dicom.core import SUFFIXES, TOLERANCE, UnfitSourceError, has_magic
from paucis.data.dicom.scans import (
    address,
    is_segmentation,
    members,
    name,
    read,
    read_geometry,
    read_grid,
    read_mask,
    read_masks,
    read_numbered,
    segments,
    write_segmentation,
)  # fmt: skip

__all__ = [
    "SUFFIXES", "TOLERANCE", "UnfitSourceError", "address", "fits", "fragment", "has_magic", "is_address",
    "is_segmentation", "members", "name", "read", "read_geometry", "read_grid", "read_mask", "read_masks",
    "read_numbered", "renumber", "segments", "write_segmentation",
]  # fmt: skip
