"""What happens in one step: images in their order, mixing, the attack and its lighter copy, the update, averages."""
