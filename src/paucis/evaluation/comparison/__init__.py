"""Sets of results against each other, case by case: rows laid side by side, tests, tables, pictures."""
