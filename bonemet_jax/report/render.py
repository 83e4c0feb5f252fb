"""Shell: reads a run, writes report.html, report.json and the figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from bonemet_jax import artifacts
from bonemet_jax.report.blocks import Bullets, Figure, Missing, Section, Text
from bonemet_jax.report.sections import is_synthetic, make_sections
from bonemet_jax.report.sources import RunFacts, load_run_facts
from bonemet_jax.report.tables import Table

#: How the template tells blocks apart.
_KINDS: dict[type, str] = {Text: "text", Bullets: "bullets", Missing: "missing", Figure: "figure", Table: "table"}


def render_report(run_dir: Path, cohort_dir: Path) -> Path:
    """Write report.html (self-contained: no script, nothing loaded), report.json (every number) and figures/*.svg.

    Args:
        run_dir: a run; whatever its stages have not written is named on the page as not available.
        cohort_dir: its cohort.
    Returns: path of report.html.
    Raises: CorruptFileError for a file that exists and cannot be read.
    """
    facts = load_run_facts(run_dir, cohort_dir)
    sections = make_sections(facts)
    for figure in (block for section in sections for block in section.blocks if isinstance(block, Figure)):
        for picture in figure.pictures:
            if picture.svg is not None:
                artifacts.write_bytes(run_dir / "figures" / f"{figure.name}.svg", picture.svg)
    artifacts.write_json(run_dir / "report.json", make_report_json(facts))
    page = run_dir / "report.html"
    artifacts.write_text(page, make_page(facts, sections))
    return page


def make_page(facts: RunFacts, sections: list[Section]) -> str:
    """The page as HTML; every text from outside is escaped."""
    name = (facts.config or {}).get("config", {}).get("name", "unnamed run")
    return render_page(name, (facts.config or {}).get("fingerprint"), facts.cohort, sections)


def render_page(
    name: str, fingerprint: str | None, cohort: Mapping[str, Any] | None, sections: list[Section]
) -> str:
    """Sections as one HTML page; `cohort` is the facts of its manifest."""
    environment = Environment(loader=PackageLoader("bonemet_jax.report", "."), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)
    return environment.get_template("page.html.j2").render(
        name=name,
        fingerprint=fingerprint,
        synthetic=is_synthetic(cohort),
        cohort=cohort,
        sections=sections,
        kind=lambda block: _KINDS[type(block)],
    )


def make_report_json(facts: RunFacts) -> dict[str, Any]:
    """Every number of the page and the full precision behind it."""
    folds = sorted({*facts.metrics, *facts.timing})
    return {
        "config": facts.config,
        "cohort": facts.cohort,
        "near_duplicates": facts.near_duplicates,
        "stats": facts.stats,
        "gradcam": facts.gradcam,
        "shap": facts.shap,
        "training": {str(k): {"epochs": facts.metrics.get(k), "timing": facts.timing.get(k)} for k in folds},
        "models": {str(k): model for k, model in facts.models.items()},
        "stage_seconds": facts.stage_seconds,
        "versions": facts.versions,
        "missing": facts.missing,
    }
