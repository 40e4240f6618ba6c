"""Servers on loopback that speak the protocols of the places data comes from, and misbehave when told to."""
