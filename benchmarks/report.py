"""Write benchmarks/README.md from benchmarks/results: every claim with its bar, met or missed, and what was measured.

Usage: python -m benchmarks.report
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

# In the order of the page.
BENCHMARKS = (
    "encode",
    "head_training",
    "first_run",
    "full_finetuning",
    "evaluate",
    "search",
    "measures",
    "commands",
    "growth",
)
_HEAD = """# Speed, beside what a user would use instead

Made by `make bench`; do not edit. Each script here measures a claim: ours and the peer in turn, on the same work, whose results
are compared too. A ratio is the median over the rounds of the peer's time through ours. A bar that is missed is shown as
missed. `python -m benchmarks.NAME --help` says how each is measured. The load is the number of busy threads in the last minute
of the measurement, its own included: above the number of cores, others ran beside it. That disturbs times, and ratios too.

"""
_MEMORY = """
## Memory

Two older scripts measure memory and have pages of their own: [preparing data at full scale](prepare_memory.md) and
[a step of full fine-tuning](training_memory.md).
"""


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The results in a folder by name; tiny runs are left out."""
    found = {name: folder / f"{name}.json" for name in BENCHMARKS}
    results = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.is_file()}
    return {name: result for name, result in results.items() if not result["small"]}


def page(results: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    missing = [name for name in BENCHMARKS if name not in results]
    lines = ["| claim | bar | reached | |", "| --- | --- | --- | --- |"]
    lines += [line for name in results for line in map(row, results[name]["bars"])]
    text = _HEAD + "\n".join(lines) + "\n"
    if missing:
        text += f"\nNot run yet: {', '.join(missing)}.\n"
    return text + "".join(section(result) for result in results.values()) + _MEMORY


def row(bar: dict[str, Any]) -> str:
    """A line of the table of claims."""
    wanted = f"at least {bar['at_least']:g}" if bar["at_most"] is None else f"at most {bar['at_most']:g}"
    claim = bar["claim"] + (f" ({bar['extrapolated']})" if bar["extrapolated"] else "")
    if bar["reached"] is None:
        return f"| {claim} | {wanted}{bar['unit']} | not measured: {bar['why']} | |"
    return (
        f"| {claim} | {wanted}{bar['unit']} | {bar['reached']:.3g}{bar['unit']} | {'met' if bar['met'] else 'missed'} |"
    )


def section(result: dict[str, Any]) -> str:
    """A benchmark's command, figures, machine and versions."""
    machine = result["machine"]
    lines = ["", f"## {result['name']}", "", f"`{result['command']}`, {result['date']} UTC. Same: {result['same']}."]
    lines += ["", *result["notes"]] if result["notes"] else []
    lines += ["", *figures(result)]
    if result["seconds"]:
        rounds = "; ".join(f"{name} {', '.join(f'{s:.3g}' for s in each)}" for name, each in result["seconds"].items())
        lines += ["", f"Seconds by round: {rounds}."]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines += [
        "",
        f"{machine['cores']} cores of {machine['processor']} ({machine['vectors']}), {machine['memory_gb']} GB, "
        f"{machine['system']}; load {machine['load']}; {versions}.",
        "",
    ]
    return "\n".join(lines)


def figures(result: dict[str, Any]) -> list[str]:
    """The absolute figures as a table; those of growth by size, with the plot."""
    if result["name"] != "growth":
        return [
            "| figure | |",
            "| --- | ---: |",
            *(
                f"| {name} | {value if isinstance(value, str) else format(value, 'g')} |"
                for name, value in result["figures"].items()
            ),
        ]
    lines = [
        "![Seconds by size of the work](results/growth.png)",
        "",
        "| cost | by | seconds at each size | exponent |",
    ]
    lines.append("| --- | --- | --- | ---: |")
    for name, series in result["figures"].items():
        seconds = ", ".join(f"{int(size):,}: {value:.3g}" for size, value in series["seconds"].items())
        lines.append(f"| {name} | {series['work']} | {seconds} | {series['exponent']:.2f} |")
    return lines


def main() -> None:
    (RESULTS.parent / "README.md").write_text(page(load(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    main()
