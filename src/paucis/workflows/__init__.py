"""What a user asks for, one file each: where data, methods and engine meet."""
