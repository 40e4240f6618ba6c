"""What a full-scale run would take: `python -m estimate`."""
