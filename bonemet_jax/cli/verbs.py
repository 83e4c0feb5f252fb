"""The verbs, in the order data walks."""

#: Verb -> what it does.
VERBS: dict[str, str] = {
    "run": "every stage of a study, resuming where the last run stopped",
    "phantom": "make a synthetic cohort with planted truth",
    "ingest": "turn DICOM or NIfTI into a cohort of T11 slices",
    "measure": "fat and muscle areas and indices, no training",
    "verify": "check images, a clinical table or a cohort; nothing is changed",
    "build": "cohort -> channels -> sharded records",
    "weights": "import weights of torchvision's or timm's ResNets as initial weights",
    "cv": "make cohort, records and folds where they are missing, and train every fold",
    "embed": "one stage of a run: network features X1..X16 of every patient, and where the network looks",
    "fuse": "one stage of a run: nine classifiers",
    "report": "one stage of a run: statistics, tables, figures, report.html",
    "stats": "ROC, Cox, Lasso-Cox, Kaplan-Meier or Table 1 of any CSV",
    "predict": "imaging score of new patients from a finished run",
    "export": "a finished run's networks as safetensors and one StableHLO program",
    "audit": "contradictions among a paper's printed tables, or a run's own",
    "configs": "list, show or copy the configs that come with the package",
    "doctor": "devices, software, memory and disk, a health check; with a config, what would run where",
    "info": "versions and capabilities, without importing jax",
}
