"""Other people's ways of doing the same work, each as its users would write it."""
