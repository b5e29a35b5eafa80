"""The procedural suite: scenes of 64 x 64 pixels, drawn from a spec and read back from pixels.

`scene` draws specs and writes captions, `render` turns a spec into a picture, `verify`
reads it back, `sets` holds the fixed prompt sets and `train` the training distribution.
Frozen: a change of any picture, caption or rule needs a new VERSION.
"""

__all__ = ["VERSION"]

VERSION = "proc-1"
