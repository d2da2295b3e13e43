"""What any method can carry."""
