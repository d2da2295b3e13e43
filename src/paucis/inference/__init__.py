"""One scan through a trained method: sliding windows, mirrored views, and back to the scan's own grid."""
