"""What several methods share: teachers, memories, views, pseudo-labels, heads and schedules; no method is here."""
