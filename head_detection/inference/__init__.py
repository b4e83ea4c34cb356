"""Pictures in, heads out: where they come from, what runs the network, where results go."""
