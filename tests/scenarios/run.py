#!/usr/bin/env python3
"""Drives the real binary as users would, and measures what it learned. README.md says what each scenario is."""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import daemon  # noqa: E402
import report  # noqa: E402
from context import Options, Run  # noqa: E402
from measure import Controls  # noqa: E402
from scenarios import ALL, EXTRA  # noqa: E402


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="names; without any, all but the extra ones")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--hone", type=Path, default=HERE.parents[1] / "target/release/hone", help="the binary")
    parser.add_argument("--seeds", default="1,2,3", help="seeds, e.g. 1,2,3 or 1-20")
    parser.add_argument("--out", type=Path, help="write all figures as JSON to this file, after each scenario")
    parser.add_argument("--controls", type=int, default=100, help="rows of each control file (at most 200)")
    parser.add_argument("--nights", type=int, default=3, help="nights of the noise scenarios")
    parser.add_argument("--settings", type=Path, help="more of hone.toml, for trials; the bars are meant for defaults")
    parser.add_argument("--model", type=Path, help="a folder or GGUF file in the place of the starter, for `guards`")
    parser.add_argument("--keep", action="store_true", help="keep the daemons' folders")
    parser.add_argument("--quick", action="store_true", help="facts10 with seed 1 and 20 rows of each control file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.scenarios, arguments.seeds, arguments.controls = arguments.scenarios or ["facts10"], "1", 20
    unknown = [name for name in arguments.scenarios if name not in ALL]
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; --list names them")
    return arguments


def _seeds(text: str) -> list[int]:
    seeds = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _one(name: str, seed: int, options: Options, controls: Controls) -> report.Result:
    """One scenario with one seed; what goes wrong is in the result."""
    run = Run(name, seed, options, controls)
    error = ""
    try:
        ALL[name](run)
    except Exception:
        error = traceback.format_exc()
    finally:
        daemon.stop_all()
    result = report.Result(name, seed, run.outcome, round(time.monotonic() - run.start, 1), error)
    if error:
        result.last_words = run.daemons[-1].said if run.daemons else ""
        print(f"{error}\nThe daemon's last words:\n{result.last_words}", file=sys.stderr)
    return result


def main() -> int:
    arguments = _arguments()
    if arguments.list:
        for name, scenario in ALL.items():
            print(f"{name:30} {(scenario.__doc__ or '').splitlines()[0]}" + (" (extra)" if name in EXTRA else ""))
        return 0
    if not arguments.hone.is_file():
        print(f"no binary at {arguments.hone}; build it, or name it with --hone", file=sys.stderr)
        return 2
    daemon.always_clean_up()
    # A copy, so that a build meanwhile changes nothing.
    with tempfile.TemporaryDirectory(prefix="hone-binary-") as folder:
        return _all(arguments, Path(shutil.copy(arguments.hone, folder)))


def _all(arguments: argparse.Namespace, hone: Path) -> int:
    """All scenarios that were asked for; the exit status."""
    settings = arguments.settings.read_text() if arguments.settings else ""
    options = Options(hone, arguments.controls, arguments.nights, settings, arguments.model, arguments.keep)
    controls = Controls(options.hone, options.controls)
    results: list[report.Result] = []
    try:
        for name in arguments.scenarios or [name for name in ALL if name not in EXTRA]:
            for seed in _seeds(arguments.seeds):
                results.append(_one(name, seed, options, controls))
                print(report.line(results[-1]), flush=True)
                if arguments.out:
                    arguments.out.write_text(json.dumps(report.as_json(results), indent=1))
    except KeyboardInterrupt:
        print("stopped; this is what there is", file=sys.stderr)
    print("\n" + report.table(results))
    return 0 if results and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
