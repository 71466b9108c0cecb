"""Days of people with a wristband, a telephone and mood ratings, as a TFDS dataset."""
