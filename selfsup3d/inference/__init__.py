"""From images, videos and keypoints to 3D poses, frame by frame: crops, prediction, smoothing, records, drawings."""
