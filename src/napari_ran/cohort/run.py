"""All pairs of a cohort on the workers of a cluster; what is finished is kept, what failed is tried again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_ran.cases import Case, file_name
from napari_ran.cohort.clusters import ClusterConfig, opened, threads_of
from napari_ran.cohort.pair import Outcome, finished_outcome, register_case
from napari_ran.cohort.summary import write_pairs, write_summary
from napari_ran.config import RegistrationConfig
from napari_ran.errors import InputError
from napari_ran.owners import locked


@dataclass(frozen=True)
class CohortStep:
    """Progress.

    Attributes
    ----------
    done, failed, total : int
        How many pairs are registered, and have failed for now, of how many.
    message : str
        What happened.
    outcome : Outcome, optional
        Of the pair that has just ended.
    dashboard : str
        Address of Dask's page on the workers, where there is one.
    """

    done: int
    failed: int
    total: int
    message: str
    outcome: Outcome | None = None
    dashboard: str = ""


@dataclass(eq=False)
class Work:
    """The pairs that are to be done, and how they have ended so far."""

    cases: Sequence[Case]
    root: Path
    config: RegistrationConfig
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def step(self, message: str, outcome: Outcome | None = None, dashboard: str = "") -> CohortStep:
        """Return the state of the work as a step."""
        failed = sum(one.status == "failed" for one in self.outcomes.values())
        return CohortStep(len(self.outcomes) - failed, failed, len(self.cases), message, outcome, dashboard)

    def listed(self) -> list[Outcome]:
        """Return the outcomes so far in the order of the cases."""
        return [self.outcomes[case.name] for case in self.cases if case.name in self.outcomes]


def register_cohort(
    cases: Sequence[Case],
    folder: str | Path,
    config: RegistrationConfig | None = None,
    cluster: ClusterConfig | None = None,
    *,
    retries: int = 1,
) -> Generator[CohortStep, None, list[Outcome]]:
    """Register every pair on Dask workers.

    Each pair gets the folder ``pairs/NAME``, with the files of `Registration.save` and a record of where they come
    from. Pairs that were finished before, from the same files with the same settings, are not made again. A worker
    that dies is replaced, and its pair given to another.

    Parameters
    ----------
    cases : sequence of Case
        From `read_cases`.
    folder : path
        For the results and the summary, of which ``pairs.csv`` is written anew after every pair.
    config : RegistrationConfig, optional
        The settings; the defaults when left out.
    cluster : ClusterConfig, optional
        Who does the work; processes of this machine when left out.
    retries : int
        How often a pair that fails by a fault, and not by its input, is tried again in this run.

    Yields
    ------
    CohortStep
        At the start and after every pair. Closing the generator stops the workers and keeps what is finished.

    Returns
    -------
    list of Outcome
        In the order of the cases.

    Raises
    ------
    InputError
        Two pairs would have one folder, another process registers a cohort in this one, or there is no cluster.
    """
    work = Work(cases, Path(folder).expanduser().absolute(), config or RegistrationConfig())
    _refuse_shared_folders(cases)
    with locked(work.root, "registering a cohort"):
        yield from _all(work, cluster or ClusterConfig(), retries)
    return work.listed()


def _all(work: Work, cluster: ClusterConfig, retries: int) -> Generator[CohortStep, None, None]:
    """Register what was not finished before."""
    cases = work.cases
    for case in cases:
        if (found := finished_outcome(case, work.root, work.config)) is not None:
            work.outcomes[case.name] = found
    left = [case for case in cases if case.name not in work.outcomes]
    yield work.step(f"{len(work.outcomes)} of {len(cases)} were finished before" if work.outcomes else "starting")
    try:
        if left:
            yield from _run(work, left, cluster, retries)
    finally:
        write_summary(work.listed(), work.root)


def _run(work: Work, left: list[Case], cluster: ClusterConfig, retries: int) -> Generator[CohortStep, None, None]:
    threads = threads_of(cluster)
    with opened(cluster) as client:
        from distributed import as_completed

        dashboard = client.dashboard_link if find_spec("bokeh") else None
        yield work.step("the workers are ready", dashboard=dashboard or "")
        running: dict[Any, tuple[Case, int]] = {}

        def submit(case: Case, attempt: int) -> Any:
            future = client.submit(register_case, case, work.root, work.config, attempt, threads, pure=False)
            running[future] = case, attempt
            return future

        ended = as_completed([submit(case, 1) for case in left])  # type: ignore[no-untyped-call]
        for future in ended:
            case, attempt = running.pop(future)
            outcome = _outcome(future, case, attempt)
            if outcome.again and attempt <= retries:
                ended.add(submit(case, attempt + 1))  # type: ignore[no-untyped-call]
                yield work.step(f"{case.name}: {outcome.reason}; trying again")
                continue
            work.outcomes[case.name] = outcome
            write_pairs(work.listed(), work.root)
            yield work.step(f"{case.name}: {outcome.reason or 'done'}", outcome)


def _outcome(future: Any, case: Case, attempt: int) -> Outcome:
    """Return how a pair ended; a worker that died again and again, or could not start the work, is a failure too."""
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else None
    if type(error).__name__ == "KilledWorker":
        reason = "its worker process was killed several times: there may be too little memory for it"
    else:
        reason = f"{type(error).__name__}: {error}" if error is not None else "the scheduler has given it up"
    return Outcome(name=case.name, status="failed", reason=reason, again=True, attempt=attempt)


def _refuse_shared_folders(cases: Sequence[Case]) -> None:
    """Names that differ in case only are one folder on some file systems."""
    seen: dict[str, str] = {}
    for case in cases:
        place = file_name(case.name).lower()
        if place in seen:
            problem = f"'{seen[place]}' and '{case.name}' would be kept in one folder"
            raise InputError("cases", problem, "Give them names that differ in more than the case of letters")
        seen[place] = case.name
