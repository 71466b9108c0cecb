"""From TFDS records to batches: `records` opens a corpus, `splits` divides it, `plan` orders it, `loader` feeds it."""
