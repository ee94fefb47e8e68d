"""Drawing, headless, with OpenCV and tensors: skeletons, parts, 3D views, sheets and animations."""
