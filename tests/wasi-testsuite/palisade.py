"""The adapter of Palisade for the runner of the official wasi-testsuite:

    PALISADE=target/release/palisade CHECKOUT/run-tests \\
        --runtime-adapter tests/wasi-testsuite/palisade.py

PALISADE           the command, split as a shell would (default: palisade)
PALISADE_RUN_ARGS  more options of `palisade run`, such as `--engine wasmi`
PALISADE_VIA       how a test gets its directory: `dir` (the host's, the default) or `copy` (in
                   memory, copied from the host's)
"""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

PALISADE = shlex.split(os.getenv("PALISADE", "palisade"))
RUN_ARGS = shlex.split(os.getenv("PALISADE_RUN_ARGS", ""))
VIA = os.getenv("PALISADE_VIA", "dir")
if VIA not in ("dir", "copy"):
    raise ValueError(f"PALISADE_VIA is dir or copy, not {VIA!r}")


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
        argv += [f"--{VIA}", f"{root}::/"]
    return argv + [str(test_path)] + list(args)
