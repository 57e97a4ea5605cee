"""What happens under load, under attack and over time, measured at a real server on loopback."""
