"""Print the requirements of setup.cfg, one a line, for pip: the package is run from its checkout, never installed."""

import configparser
from pathlib import Path

parser = configparser.ConfigParser()
parser.read(Path(__file__).resolve().parent.parent / "setup.cfg")
extras = parser["options.extras_require"]
requirements = parser["options"]["install_requires"] + extras["suites"] + extras["checkers"] + extras["test"]
print("\n".join(line for line in requirements.split("\n") if line))
