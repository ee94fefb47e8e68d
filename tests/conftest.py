"""What every test process needs before its first test."""

import os

# As `cli.run` sets it: FFmpeg looks only when the first video of a process is opened, whichever test does that.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
