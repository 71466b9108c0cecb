"""Feature files of MMSA (MOSI, MOSEI, SIMS, SIMSv2) and a synthetic corpus of their layout, as TFDS datasets."""
