"""Names of the published columns and of the rules of division, which demo, source and configs share."""

# Modality -> beginning of the names of its columns.
COLUMNS = {"zcm": "zcm", "pim": "pim", "speech": "Neuron"}
COUNTS = ("zcm", "pim")
RATINGS = tuple(f"DAMS{k}" for k in range(1, 10))
LABELS = tuple(name.lower() for name in RATINGS)
# Depression and Anxiety Mood Scale in the order of a sibling paper; that DAMS1 is the first of them is assumed.
MOODS = ("vigorous", "gloomy", "concerned", "happy", "unpleasant", "anxious", "cheerful", "depressed", "worried")

RULES = {
    "by_time": "by time within each person: the first days train, the last ones test; every person is in every split",
    "by_person": "by person: all days of a person are in one split",
}
