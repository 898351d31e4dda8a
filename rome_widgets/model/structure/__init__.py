"""A model's parts, found by one probe pass: blocks, residual branches, edited matrix, head."""
