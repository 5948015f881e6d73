"""What is made of a run: lines for a terminal, and documents."""
