#!/usr/bin/env python3
"""Instructions that each hot path executes, counted by callgrind and held against budgets.json. Unlike time, the count is the same on a busy
machine; it depends on the compiler and on the vector instructions of the CPU, both of which the budgets name.

  tests/instructions/instructions.py [HOT_PATHS]             fails over +5 % of a budget; under -15 % it asks for a lower one
  tests/instructions/instructions.py --renew [HOT_PATHS]     writes what it counts as the new budgets: after an improvement, or for a cost
                                                            that the change is worth (say so in the commit)

HOT_PATHS is the program stella_hot_paths of the dev preset (default: build/dev/bin). The cost of one call is the difference of a run with 2N
calls and one with N, divided by N, so that start and first use do not count.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUDGETS = HERE / "budgets.json"
OVER, UNDER = 1.05, 0.85
SLACK = 1  # instructions: of a path of twenty, 5 % is one
N = 2048


def skip(why):
    print(f"skip  instructions: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def counted(program, name, n):
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, name, str(n)], capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"stella_hot_paths {name} {n} under callgrind: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return int(found.group(1))


def per_call(program, name):
    return round((counted(program, name, 2 * N) - counted(program, name, N)) / N, 1)


def compiler():
    done = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=False)
    return "g++ " + done.stdout.strip()


def main():
    arguments = sys.argv[1:]
    renew = "--renew" in arguments
    arguments = [a for a in arguments if a != "--renew"]
    program = arguments[0] if arguments else str(HERE.parent.parent / "build/dev/bin/stella_hot_paths")
    if not shutil.which("valgrind"):
        skip("valgrind is missing (tools/install-packages test)")
    say = lambda option: subprocess.run([program, option], capture_output=True, text=True, check=True).stdout.split()  # noqa: E731
    names, [cpu, clock] = say("--list"), say("--cpu")
    if cpu != "avx2":
        skip("this CPU has no AVX2: the budgets are those of the scrubber's AVX2 pass")
    if clock != "tsc":
        if renew:
            sys.exit("budgets are made on a machine whose clock is the TSC")
        print("skip  paths that read the clock: here it is the kernel's, the budgets are those of the TSC")
        names = [name for name in names if not name.startswith(("log_", "span_8"))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        costs = dict(zip(names, pool.map(lambda name: per_call(program, name), names)))
    if renew:
        BUDGETS.write_text(json.dumps({"compiler": compiler(), "cpu": cpu, "instructions": costs}, indent=2) + "\n", encoding="utf-8")
        print("\n".join(f"{name:28} {cost:10.1f}" for name, cost in costs.items()))
        return
    budgets = json.loads(BUDGETS.read_text(encoding="utf-8"))
    if budgets["compiler"] != compiler():
        skip(f"the budgets are those of {budgets['compiler']}, this is {compiler()}")
    failed = 0
    held = sorted({*names, *(name for name in budgets["instructions"] if clock == "tsc" or not name.startswith(("log_", "span_8")))})
    for name in held:
        cost, budget = costs.get(name), budgets["instructions"].get(name)
        if cost is None or budget is None:
            verdict = "FAIL  " + ("has no budget: --renew" if budget is None else "is measured no more: --renew")
        elif cost > budget * OVER + SLACK:
            verdict = "FAIL  over its budget: make it cheaper, or --renew and say why"
        elif cost < budget * UNDER - SLACK:
            verdict = "ok    lower the budget: --renew"
        else:
            verdict = "ok"
        failed += verdict.startswith("FAIL")
        share = f"{cost / budget:6.2f}" if cost and budget else "     -"
        print(f"{name:28} {cost or 0:10.1f} of {budget or 0:10.1f} instructions {share}  {verdict}")
    print(f"{len(held) - failed} passed, {failed} failed, {int(clock != 'tsc')} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
