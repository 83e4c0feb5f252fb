"""Figure 6 and its table: what is drawn follows the arrays; what has no map or number says so."""

import base64
import io
import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from bonemet_jax.readout.tissue_shares import REGIONS
from bonemet_jax.report.formats import format_stage
from bonemet_jax.report.gradcam_figure import (
    CAUTION,
    draw_gradcam,
    draw_gradcam_shares,
    draw_patient_gradcam,
    make_title,
)
from bonemet_jax.report.tables import make_gradcam_table

from .conftest import make_cams, make_gradcam


def _pictures(svg: bytes) -> list[np.ndarray]:
    """RGB of the pictures inside a drawing, which stores them upside down and turns them."""
    found = re.findall(rb'href="data:image/png;base64,([^"]+)"', svg)
    assert svg.count(b"scale(1 -1)") >= len(found)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))[::-1] for data in found]


def test_bare_ct_shows_where_a_map_is_zero_and_the_top_where_it_is_not() -> None:
    cams = make_cams()
    cams["shown_ct"][:] = 100
    cams["shown_cam"][:] = 0
    dark = _pictures(draw_gradcam(cams, "for"))
    cams["shown_cam"][0, 1, 1, 20:] = 1  # the second patient's second stage, lower half
    lit = _pictures(draw_gradcam(cams, "for"))
    changed = [i for i, (a, b) in enumerate(zip(dark, lit, strict=True)) if not np.array_equal(a, b)]
    assert len(changed) == 1 and len(_pictures(draw_gradcam(cams, "against"))) == len(lit)
    picture = lit[changed[0]]
    upper, lower = picture[len(picture) // 4].mean(0), picture[3 * len(picture) // 4].mean(0)
    assert upper == pytest.approx([100, 100, 100], abs=1)
    # The colour map's bright end, 75 % opaque, over grey.
    assert lower == pytest.approx(0.25 * 100 + 0.75 * 255 * np.array([0.988, 1.0, 0.645]), abs=3)


def test_a_patients_picture_shows_what_raises_above_what_lowers() -> None:
    """CT of one grey; one kind of map at its top everywhere, the other zero: colour in its own row alone."""
    ct, region = np.full((40, 50), 100, np.uint8), np.zeros((40, 50), np.uint8)
    lit, dark = np.full((1, 40, 50), 7.0), np.zeros((1, 40, 50))

    def colour(maps: dict[str, np.ndarray]) -> list[float]:
        png = draw_patient_gradcam(ct, region, maps, ("stage1",), "one")
        rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        coloured = (rgb[..., 0] - rgb[..., 2] > 60) & (rgb.min(-1) > 20)
        return [part.mean() for part in np.array_split(coloured[: int(0.85 * len(rgb))], 2)]

    raised, lowered = colour({"for": lit, "against": dark}), colour({"for": dark, "against": lit})
    assert raised[0] > 0.2 > 5 * raised[1] and lowered[1] > 0.2 > 5 * lowered[0]


@pytest.mark.parametrize("with_muscle", [False, True])
def test_texts_of_a_patients_picture_do_not_overlap_and_the_legend_names_what_was_drawn(
    monkeypatch: pytest.MonkeyPatch, with_muscle: bool
) -> None:
    """Boxes of heading, titles, legend, tick labels, caution: apart from one another and inside the picture, pixels."""
    texts: dict[str, Bbox] = {}

    def measure(figure: Figure) -> bytes:
        FigureCanvasAgg(figure).draw()
        bar = figure.axes[-1]
        (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
        names = [text.get_text() for text in legend.get_texts()]
        drawn = [*figure.texts, *(axes.title for axes in figure.axes[:3]), *bar.get_xticklabels(), bar.xaxis.label]
        texts.update({text.get_text(): text.get_window_extent() for text in drawn})
        texts["+".join(names)] = legend.get_window_extent()
        assert not legend.get_window_extent().overlaps(bar.get_window_extent())
        (right, top) = figure.bbox.max
        cut = [text for text, box in texts.items() if min(box.min) < 0 or box.x1 > right or box.y1 > top]
        assert not cut
        return b"drawn"

    monkeypatch.setattr("bonemet_jax.report.gradcam_figure.to_png", measure)
    region = np.zeros((60, 80), np.uint8)
    region[10:20, 10:20] = list(REGIONS).index("sat")
    region[30:40, 30:40] = list(REGIONS).index("muscle") if with_muscle else 0
    maps, ct = {name: np.zeros((2, 60, 80)) for name in ("for", "against")}, np.full((60, 80), 9, np.uint8)
    heading = f"{make_title('日本' + 'x' * 90)}\nSlice 0123456789abcdef\nResearch only"
    assert draw_patient_gradcam(ct, region, maps, ("stage1", "stage2"), heading) == b"drawn"
    assert {heading, CAUTION, "1.0", "SAT+erector spinae" if with_muscle else "SAT"} <= set(texts)
    assert not [(a, b) for a, b in combinations(texts, 2) if texts[a].overlaps(texts[b])]


def test_equal_arrays_give_equal_bytes() -> None:
    assert draw_gradcam(make_cams(), "against") == draw_gradcam(make_cams(), "against")
    assert draw_gradcam(make_cams(), "against") != draw_gradcam(make_cams(), "for")
    assert draw_gradcam_shares(make_gradcam()) == draw_gradcam_shares(make_gradcam())


def test_many_patients_and_branches_are_cut_to_what_can_be_read() -> None:
    cams = make_cams()
    cams["stage"] = np.array([f"{c}/stage{k}" for c in ("ct", "mask") for k in (1, 2, 3)])
    cams["shown_cam"] = np.tile(cams["shown_cam"], (1, 3, 4, 1, 1))
    for name in ("shown_ct", "shown_region"):
        cams[name] = np.tile(cams[name], (4, 1, 1))
    cams["shown_patient_id"] = np.tile(cams["shown_patient_id"], 4)
    assert b"<svg" in draw_gradcam(cams, "for")
    assert [format_stage(name) for name in ("stage3", "ct/stage1")] == ["Stage 3", "CT, stage 1"]


def test_table_shows_shares_and_dashes() -> None:
    gradcam = make_gradcam()
    gradcam["rows"][0].update(dict.fromkeys(("share", "share_ci95", "area_share", "enrichment", "enrichment_ci95")),
                              reason="every map is zero everywhere")
    table = make_gradcam_table(gradcam)
    tissues = ["sat", "body", "outside"]
    assert [row[0].text for row in table.rows] == ["Stage 1", *tissues, "Stage 2", *tissues]
    first = table.rows[1]
    assert first[1].text == "12.0" and first[2].text == "–" and first[3].text == "–"
    assert (first[4].text, first[4].detail) == ("31.0", "[30.0, 33.0]")
    assert (first[5].text, first[5].detail) == ("2.58", "[0.60, 2.70]")
    assert any("every map is zero everywhere" in note for note in table.notes)
    assert any("Stage 1 38.0 %; Stage 2 41.0 %" in note for note in table.notes)
    assert b"<svg" in draw_gradcam_shares(gradcam)
