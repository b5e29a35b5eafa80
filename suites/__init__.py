"""What is asked of a system, and how an answer is checked."""
