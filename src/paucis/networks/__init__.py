"""Networks and blocks."""
