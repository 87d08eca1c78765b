"""The adapter of Palisade for the runner of the official wasi-testsuite:

    PALISADE=target/release/palisade CHECKOUT/run-tests \\
        --runtime-adapter tests/wasi-testsuite/palisade.py

PALISADE           the command, split as a shell would (default: palisade)
PALISADE_RUN_ARGS  more options of `palisade run`, such as `--engine wasmi`
PALISADE_VIA       how a test gets its directory: `dir` (the host's, the default), `copy` (in
                   memory, copied from the host's), `overlay` (the host's, with changes in memory)
                   or `upper` (the host's, with changes in a new directory of the host)
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Tuple

PALISADE = shlex.split(os.getenv("PALISADE", "palisade"))
RUN_ARGS = shlex.split(os.getenv("PALISADE_RUN_ARGS", ""))
VIA = os.getenv("PALISADE_VIA", "dir")
UPPERS = None  # where the directories of `upper` are made: None is the system's place
VIAS = ("dir", "copy", "overlay", "upper")
if VIA not in VIAS:
    raise ValueError(f"PALISADE_VIA is one of {', '.join(VIAS)}, not {VIA!r}")


def mount(host: Path, guest: str) -> List[str]:
    """The options that give a test a directory."""
    if VIA != "upper":
        return [f"--{VIA}", f"{host}::{guest}"]
    upper = tempfile.mkdtemp(prefix="palisade-upper-", dir=UPPERS)
    return ["--overlay", f"{host}::{guest}", "--upper", upper]


def get_name() -> str:
    return "palisade"


def get_version() -> str:
    result = subprocess.run(PALISADE + ["--version"],
                            encoding="UTF-8", capture_output=True, check=True)
    return result.stdout.split()[-1]


def get_wasi_versions() -> List[str]:
    return ["wasm32-wasip1"]


def get_wasi_worlds() -> List[str]:
    return ["wasi:cli/command"]


def get_timeout_seconds() -> float:
    # A first run compiles; the machine may be a loaded one.
    return 60


def compute_argv(test_path: str,
                 args_env_root: Tuple[List[str], Dict[str, str], Optional[Path]],
                 proposals: List[str],
                 wasi_world: str,
                 wasi_version: str) -> List[str]:
    args, env, root = args_env_root
    argv = PALISADE + ["run"] + RUN_ARGS
    for name, value in env.items():
        argv += ["--env", f"{name}={value}"]
    if root:
        argv += mount(root, "/")
    return argv + [str(test_path)] + list(args)
