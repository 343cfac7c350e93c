"""All rows of the gallery, and the pages that they stand on."""

from __future__ import annotations

from numeric.gallery import (
    advantages,
    aggregation,
    critics,
    distillation,
    divergences,
    latents,
    selection,
    truncation,
    weights,
)
from numeric.gallery.row import GALLERY as GALLERY, Row as Row

PAGES = {
    "aggregation": (aggregation, "Loss and aggregation"),
    "weights": (weights, "Importance weights"),
    "advantages": (advantages, "Group advantages"),
    "divergences": (divergences, "KL to a reference"),
    "truncation": (truncation, "Truncated sampling"),
    "critics": (critics, "Critics and lengths"),
    "distillation": (distillation, "Distillation"),
    "selection": (selection, "Selection"),
    "latents": (latents, "Latent draws"),
}
"""By the name of a page: the module of its rows, and its title."""
