"""Two revisions in turn: is the new one slower?"""
