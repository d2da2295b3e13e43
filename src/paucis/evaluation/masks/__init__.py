"""Masks on disk, and the maps beside them: found, matched by name, read onto one grid as class indices."""
