"""Who the patients are: the checked table, the folds, the numeric clinical columns."""
