"""The steps of the tour in words, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Needs(IntEnum):
    """What has to be there before a step can be shown, each with what comes before it."""

    NOTHING = 0
    SAMPLE = 1
    RESULT = 2


@dataclass(frozen=True)
class Step:
    """One step of the tour.

    Attributes
    ----------
    key : str
        Its name in the program.
    title : str
        Its heading.
    will : str
        What the button does.
    seen : str
        What is seen afterwards (rich text).
    action : str
        What stands on the button.
    needs : Needs
        What has to be there.
    """

    key: str
    title: str
    will: str
    seen: str
    action: str
    needs: Needs = Needs.RESULT


STEPS = (
    Step(
        "open_sample",
        "A pair of images",
        "Opens two made-up images of one body whose organs slide along each other. Nothing is downloaded.",
        "The <b>fixed</b> and the <b>moving</b> image lie on top of each other, with labels of the organs and matching "
        "points, which are hidden. Switch the upper image off and on with the eye in the layer list: parts of the body "
        "jump by up to 17 mm, and each side of the body in its own way.",
        "Open the sample",
        Needs.NOTHING,
    ),
    Step(
        "register",
        "Register it",
        "Brings the moving image onto the fixed one with the standard settings. Without a graphics card the 3-D sample "
        "takes half a minute to a few minutes, the 2-D one seconds.",
        "The layer <b>warped</b> is the moving image on the fixed one; below it lie the displacement, the change of "
        "volume and others. The page <b>Result</b> of Register compares the figures before and after, and saves or "
        "exports the transform.",
        "Register",
        Needs.SAMPLE,
    ),
    Step(
        "levels",
        "1 of Inspect: coarse to fine",
        "Opens Inspect and plays the field level by level.",
        "Each arrow leads from a point of the fixed image to where it lies in the moving one; its colour is the length "
        "in mm. <b>looks</b> is what the network found on coarser grids, if it looked there; every level refines the "
        "field of the one before; <b>out</b> is its last word, and <b>fit</b> the optimisation for this very pair.",
        "Play the levels",
    ),
    Step(
        "increment",
        "2 of Inspect: what one level added",
        "Shows what the finest level alone changed of the field.",
        "The <b>increment</b>: only what this level added, in mm. Move the slider of Inspect to compare levels: where "
        "the increment is nearly nothing, the level has found nothing to mend, or could not.",
        "Show the increment",
    ),
    Step(
        "heads",
        "3 of Inspect: which head proposed it",
        "Shows whose proposal counts where, at the finest level.",
        "Several <b>heads</b> propose a displacement for each voxel, so that neighbours may move differently. The "
        "legend gives the colour and the mean share of each. Where colours change at the border of an organ, heads "
        "have shared the work; where one colour rules, one head does it.",
        "Show the heads",
    ),
    Step(
        "probe",
        "4 of Inspect: one voxel",
        "Probes a voxel beside the boundary along which the halves slide, and keeps it.",
        "The figure follows <b>one voxel</b> from level to level; the bars say how much each head put in. Move the "
        "mouse over the image to probe other voxels, and click with Shift to keep one.",
        "Probe a voxel",
    ),
    Step(
        "ablation",
        "5 of Inspect: without a part",
        "Switches the first head of the finest level off and runs the network again.",
        "A box without its tick is a part that is switched <b>off</b>. Below the boxes stands how far the field and "
        "its figures change: that is how much the result depends on this part. <i>All on</i> brings it back.",
        "Switch a head off",
    ),
)
"""The tour, in order."""

END = (
    "That was the tour. Now your own pair: open two images (File > Open, or drop the files), and choose them in "
    "Register. The key F1 opens the page of the documentation about the widget that has the focus."
)
"""What is said at the end."""
