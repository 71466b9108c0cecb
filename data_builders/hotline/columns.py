"""Names of the published layout, which the demo writes and `source.py` reads."""

AUDIO_FOLDER = "original_audio_data"
CALLER_ROLE = 1
# In the order of the published heads.
EMOTIONS = (
    "despair",
    "sadness",
    "pain",
    "guilt",
    "confuse",
    "helplessness",
    "resentment",
    "fear",
    "numbness",
    "anxiety",
    "grievance",
)
NEGATIVE = "negative"
LABELS = (NEGATIVE, *EMOTIONS)
