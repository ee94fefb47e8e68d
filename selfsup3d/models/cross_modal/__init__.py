"""Cross-modal variational autoencoders: pictures, 2D poses and 3D poses in one latent space."""
