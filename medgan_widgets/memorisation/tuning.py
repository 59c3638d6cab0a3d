"""What the search for copies is tuned by: each number, its unit, and why it is what it is."""

from __future__ import annotations

import numpy as np

# What is looked for, in shares of the side, radians and grey levels. Copies changed further are
# not promised to be found: `report.NOT_LOOKED_FOR`.
SHIFT, TURN = 0.06, np.deg2rad(3)
SMALLEST_CROP = 0.8
GAMMAS = (0.8, 1.25)
NOISE = 5.0

# Images while they are compared.
SIDE = 64  # pixels: enough to tell phantoms, textures and slices of a series apart
BLOCK = 256  # images resized at a time, so that memory stays small
FLAT = 0.5  # grey levels of standard deviation below which there is nothing to compare
BAR_DEPTH = 5  # pixels of 64 at an edge: shifts of 6 %, and one
BAR_BLACK = 12.0  # grey levels below which such a bar is black, noise and all

# What is individual in an image.
WHITENING_NOISE = 10.0  # grey levels: twice the noise that is looked for tells copies best from
# neighbours (measured on phantoms, textures, blobs and series of slices)
SHARED = 8  # directions that many images have in common, at most
SPECTRUM_IMAGES = 600  # are enough for the spectrum

# Candidates: a few training images out of many thousands.
CANDIDATES = 32  # an image
VECTOR = 32  # numbers that describe a crop
GRID, BAND = 16, 12  # pixels, and cosines along an axis, that they are made from
TAPER = 0.6  # of half the side: where a crop is off, it is most so at the edge
OFF = 0.05  # of the side: how far a crop may be from the nearest one that is described
RIDGE = 0.02  # of the mean variance, so that what hardly varies does not decide
LEARN_IMAGES = 300  # from which the vectors are learned
STRIPE = 2048  # training images at a time: their products stay in the cache

# One image laid over another.
SHORTEST = 0.76  # of the side: crops of 80 % are looked for, and a little beyond
LONGEST = 1.01
REACH = 0.07  # of the side: shifts of 6 % are looked for
STEEPEST = np.deg2rad(3.6)  # turns of 3 degrees are looked for
DAMPING = 0.01  # of the diagonal: keeps steps small where the image says little
AT_ONCE = 64  # generated images
PAIRS = 512  # laid over each other at a time
# Candidates are looked at three times: pixels a side, steps of the alignment, and how many of
# an image's candidates go on from there. In 16 pixels ribs slip by one, and copies are lost.
LOOKS = ((32, 3, 16), (32, 3, 8), (SIDE, 4, 1))
LEAST_FIT = 0.3  # correlation of pixels below which nothing is a copy

# The threshold.
REALS = 320  # real images that are looked up, at most
CONTROLS = 288  # copies made on purpose: 48 of each kind of change
ENOUGH_HELD_OUT = 50  # real images of others, by which the threshold is set instead
FEWEST = 10  # training images: with fewer, nobody can say what is alike by chance
OTHERS = 0.25  # of all: an image is compared with that many at least, or not looked up
TAIL = 3.0  # standard deviations above the middle of what real images are like
UPWARDS = 0.25  # of the way from real images to copies, where there is a gap
MARGIN = 0.1  # of the way from copies to the middle of real images: some will be less alike
NEAR_DUPLICATE = 0.9  # likeness of two training images either of which a copy may lead to
RARELY = 0.985  # share of real images below the threshold where there is none
MOST_LIKE = 0.99999  # stands for identical images, whose Fisher's z would be infinite

# The report.
USABLE = 0.5  # share of controls found below which nothing can be said …
SENSITIVE = 0.95  # … and below which there is a warning
ALARMS = 0.1  # share of real images taken for copies above which nothing can be said
SHOWN = 16  # pairs in the picture
LARGEST = 256  # pixels a side of a picture that is kept
