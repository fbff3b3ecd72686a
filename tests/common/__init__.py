"""Networks, data and trainers that several tests use."""
