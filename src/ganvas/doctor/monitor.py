"""Findings of the doctor: the rules applied to a log, afterwards or while a training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ganvas.doctor.log_summary import History, LogMean, LogSummary, RunInfo
from ganvas.doctor.remedies import next_command
from ganvas.doctor.rules import IN_LOG, LOST, RULES, WARM, State, healthy_evidence, too_early


@dataclass(frozen=True)
class Finding:
    """A state with its evidence in figures, and the command to run next, quoted for a shell."""

    state: State
    evidence: str
    command: str

    def to_text(self) -> str:
        """One line: state, evidence, command."""
        return f"{self.state}: {self.evidence}; next: {self.command}"


class Monitor:
    """Diagnoses a training while it goes on.

    It reports a state once: when two checkups in a row show it or, for the states IN_LOG, two lines
    with gradient norms.
    """

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self.resume(())

    def resume(self, lines: Iterable[LogMean]) -> None:
        """Take in the log of a resumed training. What it showed has been reported before."""
        self.history, self.reported, self.suspected = History(), set[State](), set[State]()
        for line in lines:
            self.see(line)

    def see(self, line: LogMean) -> list[Finding]:
        """Take in a line of the log and return the new findings.

        A line of losses alone is not diagnosed, as every step may have one.
        """
        self.history.add(line)
        checked = "diversity" in line
        if not checked and ("g_gradient" not in line or line["step"] < WARM):
            return []
        findings = [
            each
            for each in diagnose(self.run, self.history.means)
            if each.state not in self.reported and (checked or each.state in IN_LOG)
        ]
        sure = [each for each in findings if each.state in self.suspected and each.state in RULES]
        kept = set() if checked else self.suspected - IN_LOG
        self.suspected = {finding.state for finding in findings} | kept
        self.reported |= {finding.state for finding in sure}
        return sure


def diagnose(run: RunInfo, means: Sequence[LogMean]) -> list[Finding]:
    """Apply all rules to a log, given as `History.means`.

    Returns the findings, with those that explain others first; "healthy" or "too early to tell" if
    no rule applies.
    """
    evidence: dict[State, str] = {}
    if not means:
        evidence["too early to tell"] = "the log is still empty"
    for state, rule in RULES.items():
        if means and (text := rule(LogSummary(run, means))) is not None:
            evidence[state] = text
            if state in LOST:
                break
    if not evidence:
        log = LogSummary(run, means)
        text, early = healthy_evidence(log), too_early(log)
        evidence = {"too early to tell": f"{early}; {text}"} if early else {"healthy": text}
    return [Finding(state, text, next_command(run, state)) for state, text in evidence.items()]
