"""Train text embedders for retrieval whose space is an isotropic Gaussian, and measure them."""
