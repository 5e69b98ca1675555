"""Building blocks that the GANs share, and passes with hand-written gradients."""
