"""The web page on which a model is tried: upload a picture, turn the skeleton, move the camera, swap appearances."""
