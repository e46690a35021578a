"""``python -m tests.long [-k WORDS]``: run what is not yet passed for the present tree, then write the report.

A case that passed is not run again until the program, its image or the case's own file changes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".cache" / "long" / "results.json"
REPORT = ROOT / "docs" / "test-report.md"
_INPUTS = ("rescue", "live-config", "image-build", "requirements.lock")
_CASE_SECONDS = 3 * 3600
# A row of the report's table.
_ROW = re.compile(r"^\| `(.+)` \| (passed|\*\*failed\*\*) \| (\d+) s \| (\S+) \|$", re.MULTILINE)

Results = dict[str, dict[str, str | float | bool]]


def tree_key(case: str) -> str:
    """A hash of what the outcome of a case depends on: the program, the live system and the case's own folder."""
    digest = hashlib.sha256()
    folders = [ROOT / name for name in _INPUTS] + [(ROOT / case.split("::")[0]).parent]
    for folder in folders:
        files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def collect(words: str) -> list[str]:
    """The node ids of all tests marked ``long``."""
    command = [sys.executable, "-m", "pytest", "tests", "-m", "long", "--collect-only", "-q", *(["-k", words] if words else [])]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    cases = [line for line in found.stdout.splitlines() if "::" in line]
    if not cases:
        sys.exit(f"No case was found.\n{found.stdout}{found.stderr}")
    return cases


def run_case(case: str) -> tuple[bool, float, str]:
    """Run one case in a process of its own: passed, seconds, the last line of its output."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "long", case]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_CASE_SECONDS)
    except subprocess.TimeoutExpired:
        return False, time.monotonic() - started, f"did not end within {_CASE_SECONDS} s"
    passed = done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout
    if not passed:
        log = RESULTS.parent / (case.replace("/", "_").replace("::", ".") + ".log")
        log.write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return passed, time.monotonic() - started, last


def known_results() -> Results:
    """What earlier runs found, by case: those that the report tells of, and newer ones of this checkout."""
    told: Results = {
        f"tests/{case}": {"passed": verdict == "passed", "seconds": float(seconds), "key": "", "date": date}
        for case, verdict, seconds, date in _ROW.findall(_report())
    }
    return told | (json.loads(RESULTS.read_text()) if RESULTS.exists() else {})


def _report() -> str:
    return REPORT.read_text() if REPORT.exists() else ""


def write_report(results: Results, cases: list[str]) -> None:
    """What is known of every case, those that were not run included. Sections of the report behind its table stay."""
    lines = [
        "# Test report: the long matrices",
        "",
        "Written by `make test-long`; each case runs in a process of its own and is repeated when what it depends on changes.",
        "",
        "| case | result | time | on |",
        "|---|---|---:|---|",
    ]
    for case in sorted(cases):
        result = results.get(case)
        if result is None:
            lines.append(f"| `{case.removeprefix('tests/')}` | not run | | |")
            continue
        verdict = "passed" if result["passed"] else "**failed**"
        lines.append(f"| `{case.removeprefix('tests/')}` | {verdict} | {result['seconds']:.0f} s | {result['date']} |")
    passed = sum(1 for case in cases if results.get(case, {}).get("passed"))
    lines += ["", f"{passed} of {len(cases)} cases passed.", ""]
    _, heading, others = _report().partition("\n## ")
    REPORT.write_text("\n".join(lines) + heading + others)


def main() -> int:
    """Run the cases; exit code 1 when one failed."""
    parser = argparse.ArgumentParser(prog="tests.long")
    parser.add_argument("-k", dest="words", default="", help="only cases whose names match, as in pytest")
    parser.add_argument("--again", action="store_true", help="also what has passed")
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = known_results()
    failed = 0
    cases = collect(arguments.words)
    for number, case in enumerate(cases, 1):
        key = tree_key(case)
        known = results.get(case, {})
        if known.get("passed") and known.get("key") == key and not arguments.again:
            continue
        passed, seconds, last = run_case(case)
        failed += not passed
        results = known_results()  # another run may have added to it
        results[case] = {
            "passed": passed, "seconds": round(seconds, 1), "key": key,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }  # fmt: skip
        RESULTS.write_text(json.dumps(results, indent=1))
        print(f"[{number}/{len(cases)}] {'passed' if passed else 'FAILED'} {case} ({seconds:.0f} s): {last}", flush=True)
    write_report(results, collect("") if arguments.words else cases)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
