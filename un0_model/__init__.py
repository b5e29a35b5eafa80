"""Un0, the gated sparse model, and the dense diffusion it is weighed against."""
