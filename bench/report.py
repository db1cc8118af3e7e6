"""What was measured: as a table, and as a chart for the README."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from bench.scenarios import PROMISES

Figures = dict[str, float]
SHOWN = ("get one", "list 20", "complete", "create")


@dataclass
class Results:
    """Figures by scenario, server and round; `memory` is in bytes."""

    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    token_check: tuple[float, float] = (0.0, 0.0)
    """Milliseconds for a token that is new, and for one that is known."""

    def add(self, scenario: str, server: str, figures: Figures) -> None:
        self.rounds.setdefault(scenario, {}).setdefault(server, []).append(figures)

    def median(self, scenario: str, server: str, figure: str) -> float:
        return statistics.median(one[figure] for one in self.rounds[scenario][server])

    def spread(self, scenario: str, server: str) -> float:
        """How far the rounds' rates lie apart, as a share of their median."""
        rates = [one["rate"] for one in self.rounds[scenario][server]]
        return (max(rates) - min(rates)) / statistics.median(rates)

    def gain(self, scenario: str, server: str, figure: str) -> float:
        """How many times better than the peer: more requests, or less of the processors."""
        ours, peers = (self.median(scenario, one, figure) for one in (server, "peer"))
        return ours / peers if figure == "rate" else peers / ours

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": f"{os.cpu_count()} CPUs, {platform.machine()}",
            "python": platform.python_version(),
            "memory": self.memory,
            "token_check_ms": self.token_check,
            "rounds": self.rounds,
        }


def table(results: Results) -> str:
    head = ("req/s", "spread", "× peer", "of floor", "CPU µs", "× peer", "p50 ms", "p95", "p99")
    lines = [f"{'':33}{'':9}" + "".join(f"{name:>9}" for name in head)]
    for scenario, servers in results.rounds.items():
        for server in sorted(servers, key=["taskapi", "peer", "floor"].index):
            rate, cpu, *latencies = (
                results.median(scenario, server, figure)
                for figure in ("rate", "cpu_us", "p50", "p95", "p99")
            )
            floor = results.median(scenario, "floor", "rate") if "floor" in servers else None
            cells = [
                f"{rate:.0f}",
                f"{results.spread(scenario, server):.0%}",
                f"{results.gain(scenario, server, 'rate'):.2f}",
                f"{rate / floor:.0%}" if floor else "",
                f"{cpu:.0f}",
                f"{results.gain(scenario, server, 'cpu_us'):.2f}",
                *(f"{latency:.1f}" for latency in latencies),
            ]
            lines.append(f"{scenario:33}{server:9}" + "".join(f"{cell:>9}" for cell in cells))
    memory = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in results.memory.items())
    return "\n".join([*lines, "", f"memory of all processes: {memory}", *_kept(results)])


def _kept(results: Results) -> list[str]:
    """Hold what the contracts promise against what was measured."""
    first, again = results.token_check
    lines = [
        f"token check: {first:.3f} ms, {again:.4f} ms for one that is known; promised 50 ms,"
        " aimed at 0.1 ms"
    ]
    for promise in PROMISES:
        name = promise.scenario.name
        if name in results.rounds:
            p95 = results.median(name, "taskapi", "p95")
            lines.append(
                f"{name}: p95 {p95:.0f} ms; promised {promise.promised} ms,"
                f" aimed at {promise.aimed_at} ms; no request failed"
            )
    return lines


def chart(results: Results) -> str:
    """Draw how many times the peer's requests the service answers, and by CPU time."""
    kinds = [("requests per second", "rate", "#2563eb"), ("for the CPU time", "cpu_us", "#0d9488")]
    scale, left, top, bar = 150, 110, 56, 18
    shapes = []
    for row, scenario in enumerate(SHOWN):
        y = top + row * (2 * bar + 16)
        shapes.append(
            f'<text x="{left - 10}" y="{y + bar + 5}" text-anchor="end">{scenario}</text>'
        )
        for number, (_, figure, colour) in enumerate(kinds):
            gain = results.gain(scenario, "taskapi", figure)
            at = y + number * bar
            shapes.append(
                f'<rect x="{left}" y="{at}" width="{gain * scale:.0f}" height="{bar - 2}"'
                f' fill="{colour}"/><text x="{left + gain * scale + 6:.0f}" y="{at + 13}">'
                f"{gain:.1f}×</text>"
            )
    height = top + len(SHOWN) * (2 * bar + 16)
    legend = "".join(
        f'<rect x="{left + number * 190}" y="28" width="12" height="12" fill="{colour}"/>'
        f'<text x="{left + number * 190 + 18}" y="39">{escape(name)}</text>'
        for number, (name, _, colour) in enumerate(kinds)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#334155">'
        "<title>taskapi against FastAPI, SQLModel and asyncpg: how many times as much</title>"
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="{left}" y="18" font-weight="600">taskapi, as a multiple of FastAPI + SQLModel'
        " + asyncpg</text>"
        f'{legend}<line x1="{left + scale}" y1="{top - 8}" x2="{left + scale}" y2="{height - 8}"'
        f' stroke="#94a3b8" stroke-dasharray="4 3"/>{"".join(shapes)}</svg>\n'
    )
