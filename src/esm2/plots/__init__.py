"""Pictures of what the model gives: arrays in, a PNG or SVG file out.

    contact_map      contacts (L, L)            which residues touch, beside a structure's contacts
    attention_map    attentions (N, L)          where each layer looks
    scan_heatmap     scores (20, L)             what each mutation does
    logo             probabilities (m, 20)      what stands at masked residues

The same arrays give the same bytes, whatever the settings of matplotlib: no date is written, and
nothing is read from or left in its global state. Pictures may be drawn from several threads.
"""

from __future__ import annotations

from esm2.errors import MissingExtra

try:
    from esm2.plots.attention_map import attention_map
    from esm2.plots.contact_map import contact_map
    from esm2.plots.logo import logo
    from esm2.plots.scan_heatmap import scan_heatmap
except ModuleNotFoundError as error:
    raise MissingExtra("matplotlib and logomaker", "plots") from error

__all__ = ["contact_map", "attention_map", "scan_heatmap", "logo"]
