"""Slices worth showing, and what is drawn of them: sheets, stacks to leaf through, layers, changes."""
