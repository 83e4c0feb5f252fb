"""What a run compiles, for devices that need not be here: counted from its HLO, held to a budget."""
