"""Images that are made, not measured, with their exact displacement fields."""

from napari_ran.config import PairConfig
from napari_ran.synthetic.generator import GeneratedPair, PairRecord, draw_pair, generate_batch, render_pair
from napari_ran.synthetic.phantom import PhantomPair, phantom_2d, sliding_phantom
from napari_ran.synthetic.slip import Interface, SlipReport, interface_of

__all__ = [
    "GeneratedPair",
    "Interface",
    "PairConfig",
    "PairRecord",
    "PhantomPair",
    "SlipReport",
    "draw_pair",
    "generate_batch",
    "interface_of",
    "phantom_2d",
    "render_pair",
    "sliding_phantom",
]
