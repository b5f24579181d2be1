"""What becomes smooth and how: the rules, what they put in place of activations, what is known of operations."""
