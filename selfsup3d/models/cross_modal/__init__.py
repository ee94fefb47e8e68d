"""Cross-modal variational autoencoders: images, 2D poses and 3D poses in one latent space."""
