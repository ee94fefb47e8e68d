"""The web page on which a model is tried: upload an image, turn the skeleton, move the camera, swap appearances."""
