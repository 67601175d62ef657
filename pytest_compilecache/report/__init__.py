"""What a session tells a person."""
