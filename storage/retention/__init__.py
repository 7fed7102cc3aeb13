"""How long records are kept: rules, what they mean for partitions, and carrying that out beside the writers."""
