"""What the builders of all corpora share: where datasets lie, splits, shards, cards; nothing of any one corpus."""
