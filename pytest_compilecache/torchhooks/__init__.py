"""The private names of torch, one file for each place in torch that we look into or change."""
