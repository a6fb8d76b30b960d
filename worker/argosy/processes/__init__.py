"""The processes of an installation: worker and tracker, what one tells the other, and what is looked after all the time."""
