"""What a run with nothing to change costs, beside saying hello to every host: medians of alternating runs.

    make bench

Run it on a site that is deployed: with something to change it says so and stops.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = Path(sys.executable).with_name("pyinfra")
RUNS = 7
SITE = ["inventory.py", "deploys/site.py"]
BARE = ["inventory.py", "exec", "--", "true"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PYINFRA, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"pyinfra {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    run("-y", *arguments)
    return time.perf_counter() - began


def commands(arguments: list[str]) -> Counter[str]:
    """SSH commands by host, as pyinfra prints them at -vvv."""
    done = run("-y", "-vvv", *arguments)
    return Counter(
        re.findall(
            r"^\s*(?:\x1b\[\S*m)*\[([^\]]+)\](?:\x1b\[\S*m)*\s*>>> ",
            done.stderr + done.stdout,
            re.M,
        )
    )


def changed() -> list[str]:
    """Operations that the site run would count as a change."""
    plan = json.loads(run("-y", "--json", *SITE).stdout)
    return [result["name"] for result in plan["results"]["operations"] if result["success"]]


def main() -> None:
    run("-y", *SITE)
    if names := changed():
        sys.exit(f"not a run with nothing to change: {', '.join(names)}")
    counts = {"site.py": commands(SITE), "bare": commands(BARE)}
    times: dict[str, list[float]] = {"site.py": [], "bare": []}
    for _ in range(RUNS):
        times["site.py"].append(seconds(SITE))
        times["bare"].append(seconds(BARE))
    hosts = len(counts["bare"])
    print(f"{hosts} hosts, nothing to change, median of {RUNS} runs each, in turns")
    for name, taken in times.items():
        most = max(counts[name].values(), default=0)
        print(f"  {name:8} {statistics.median(taken):6.2f} s   at most {most} SSH commands a host")
    print(f"  ratio    {statistics.median(times['site.py']) / statistics.median(times['bare']):6.2f}   (to hold: 2)")


if __name__ == "__main__":
    main()
