"""lego."""
