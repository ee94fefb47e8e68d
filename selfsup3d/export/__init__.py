"""Export formats: BVH, glTF, ONNX."""
