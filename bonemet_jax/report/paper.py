"""What the paper prints (doi 10.3233/CBM-230219), for columns beside ours; nothing is computed from it."""

#: Table 1: mean, SD without | with bone metastasis, p as printed.
TABLE1_MEAN_SD: dict[str, tuple[str, str, str]] = {
    "age_years": ("50.0 ± 8.4", "52.1 ± 8.6", "0.097"),
    "bmi_kg_m2": ("24.0 ± 3.4", "24.7 ± 5.5", "0.209"),
    "cea_ng_ml": ("2.1 ± 2.2", "6.5 ± 13.2", "<0.001"),
    "tumour_size_cm": ("2.4 ± 1.3", "3.3 ± 1.8", "<0.001"),
    "esma_cm2": ("28.5 ± 9.9", "30.1 ± 7.5", "0.272"),
    "esmi_cm2_m2": ("11.0 ± 3.8", "11.8 ± 3.2", "0.140"),
    "sfa_cm2": ("159.8 ± 59.0", "140.4 ± 82.7", "0.036"),
    "sfi_cm2_m2": ("60.2 ± 23.6", "20.9 ± 5.6", "<0.001"),
    "vfa_cm2": ("71.4 ± 47.0", "44.5 ± 38.8", "<0.001"),
    "vfi_cm2_m2": ("27.6 ± 18.4", "17.6 ± 16.2", "<0.001"),
}
#: Table 1: n of 379 without | n of 52 with bone metastasis, by variable and level (level as in the cohort table).
TABLE1_COUNTS: dict[tuple[str, str], tuple[int, int]] = {
    ("menopause", "post"): (190, 30), ("menopause", "pre"): (189, 22),
    ("n_stage", "N0"): (176, 17), ("n_stage", "N1+"): (203, 35),
    ("lvi", "1"): (109, 36), ("lvi", "0"): (270, 16),
    ("ki67_high", "1"): (218, 36), ("ki67_high", "0"): (161, 16),
    ("subtype", "HER2-enriched"): (121, 29), ("subtype", "luminal_A"): (139, 8), ("subtype", "luminal_B"): (43, 6),
    ("multifocal", "1"): (11, 15), ("multifocal", "0"): (368, 37),
    ("er", "1"): (234, 29), ("er", "0"): (145, 23),
    ("pr", "1"): (219, 30), ("pr", "0"): (160, 22),
    ("her2", "1"): (142, 29), ("her2", "0"): (237, 23),
    ("endocrine", "1"): (166, 13), ("endocrine", "0"): (213, 39),
    ("radiotherapy", "1"): (104, 13), ("radiotherapy", "0"): (275, 39),
    ("chemotherapy", "1"): (356, 52), ("chemotherapy", "0"): (32, 0),
    ("histology", "ductal"): (304, 36), ("histology", "other"): (75, 16),
}
#: Tables 3 and 4, test cohort: AUC and its 95 % CI by (feature set, classifier); `network` is ResNet101.
TEST_AUC: dict[tuple[str, str], tuple[float, float, float]] = {
    ("imaging", "network"): (0.699, 0.586, 0.803),
    ("imaging", "gbdt"): (0.700, 0.594, 0.793),
    ("clinical", "gbdt"): (0.783, 0.672, 0.878),
    ("both", "gbdt"): (0.922, 0.843, 0.964),
    ("imaging", "svm"): (0.681, 0.570, 0.784),
    ("clinical", "svm"): (0.786, 0.672, 0.881),
    ("both", "svm"): (0.855, 0.760, 0.928),
    ("imaging", "rf"): (0.638, 0.532, 0.742),
    ("clinical", "rf"): (0.785, 0.688, 0.865),
    ("both", "rf"): (0.839, 0.748, 0.913),
}
