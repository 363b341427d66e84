"""Run the unit tests in as many processes as there are cores, and fail where one of them does.

Not by xdist: a worker of it hangs once pyinfra has patched gevent into it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent


def main() -> int:
    with tempfile.TemporaryDirectory() as claims:
        command = [sys.executable, "-m", "pytest", str(TESTS), "-q", *sys.argv[1:]]
        processes = [
            subprocess.Popen(
                command,
                env={**os.environ, "UNIT_CLAIMS": claims},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(max(2, os.cpu_count() or 2))
        ]
        passed = 0
        for process in processes:
            said, _ = process.communicate()
            print(said, end="", flush=True)
            passed += sum(map(int, re.findall(r"(\d+) passed", said)))
        print(f"{passed} passed in {len(processes)} processes")
        return max(abs(process.returncode) for process in processes)


if __name__ == "__main__":
    sys.exit(main())
