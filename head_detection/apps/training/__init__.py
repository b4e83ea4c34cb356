"""Parts of ``train``: its options, and what it says."""
