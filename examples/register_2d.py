"""Register a 2-D pair from Python, watch it, and save the result.

Run it: ``python examples/register_2d.py [folder]``.
"""

import sys

import napari_ran as ran

pair = ran.phantom_2d(seed=0)
run = ran.start(
    pair.fixed,
    pair.moving,
    fixed_labels=pair.fixed_labels,
    moving_labels=pair.moving_labels,
)
for event in run:  # leave the loop, or call run.cancel(), to keep the best so far
    if event.step == event.total:
        print(f"{event.stage}: done {event.metrics or ''}")
registration = run.result()

for name, before, after, unit in registration.report.table():
    print(f"{name:40} {'' if before is None else f'{before:8.3f}':>8} {after or 0:8.3f} {unit}")
print("saved in", registration.save(sys.argv[1] if len(sys.argv) > 1 else "out/register_2d"))
