"""Nine mood ratings of a day from a wristband and speech, macro and micro (docs/daily_mood.md)."""
