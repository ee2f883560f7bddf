"""Looking after what is kept: compare what is known with what is there, and say how much there is."""
