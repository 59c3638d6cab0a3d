"""medigan's models: what is known of them, without importing or downloading anything."""
