"""What is fast, as ratios taken in one run; see README.md."""
