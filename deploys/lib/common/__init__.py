"""What several roles have in common, and no role owns."""
