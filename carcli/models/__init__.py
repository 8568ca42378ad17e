"""The networks alone: ``base`` says what one is, ``registry`` how it is found, and a new one is a new file here."""
