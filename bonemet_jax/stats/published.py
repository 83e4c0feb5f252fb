"""What the paper prints and our tables set beside our own figures (doi 10.3233/CBM-230219); nothing is fitted to it."""

from typing import Any

#: Table 2 by encoded column: Lasso-Cox coefficient, refit HR with 95 % interval, p as printed.
TABLE2: dict[str, dict[str, Any]] = {
    name: {"lasso_coef": coef, "hr": hr, "ci95": [low, high], "p": p}
    for name, coef, hr, low, high, p in (
        ("lvi", 0.4006, 2.544, 1.370, 4.723, "<0.001"),
        ("ki67_high", 0.1003, 2.045, 1.076, 3.887, "0.028"),
        ("histology_ductal", -1.0255, 0.216, 0.110, 0.421, "<0.001"),
        ("cea_ng_ml", 0.0618, 1.088, 1.049, 1.129, "<0.001"),
        ("bmi_kg_m2", 0.0012, 0.949, 0.869, 1.036, "0.243"),
        ("sfa_cm2", 0.0002, 1.005, 0.999, 1.011, "0.083"),
        ("sfi_cm2_m2", -0.0740, 0.875, 0.845, 0.905, "<0.001"),
    )
}
#: Row H4: sensitivity and specificity of the SFI cut-off, with 95 % intervals.
SFI_CUTOFF: dict[str, Any] = {
    "sens": 0.727, "sens_ci95": [0.694, 0.751], "spec": 0.743, "spec_ci95": [0.701, 0.785],
}
