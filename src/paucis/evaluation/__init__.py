"""How good masks are: overlap, surface distances and volumes per case, summaries, tables and picture sheets."""
