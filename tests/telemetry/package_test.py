#!/usr/bin/env python3
"""The installed package and the example service that links it: installed into an empty directory, configured and built from a copy outside of the
checkout, run, and its log line, metrics and propagation looked at. Nothing of the platform may be needed.

    package_test.py BUILD_DIR [SANITIZERS of that build]
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def fetch(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def expect(what, ok, *seen):
    print(("ok    " if ok else "FAIL  ") + what, *([] if ok else seen), sep="\n      " if not ok else "")
    return ok


def main():
    build = sys.argv[1]
    flags = "-Wall -Wextra -Werror" + (f" -fsanitize={sys.argv[2]}" if sys.argv[2:] else "")
    with tempfile.TemporaryDirectory(prefix="stella-package-") as work:
        prefix, source, log = work + "/prefix", work + "/pricing", work + "/pricing.log"
        run("cmake", "--install", build, "--component", "telemetry", "--prefix", prefix)
        shutil.copytree(ROOT + "/examples/pricing", source)
        run("cmake", "-G", "Ninja", "-S", source, "-B", work + "/build", "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_CXX_FLAGS=" + flags)
        run("cmake", "--build", work + "/build")
        service = subprocess.Popen([work + "/build/pricing", log], stdout=subprocess.PIPE, text=True)
        try:
            url = f"http://127.0.0.1:{int(service.stdout.readline())}"
            found = fetch(url + "/price/C-1042", traceparent=f"00-{TRACE}-{PARENT}-01")
            missing = fetch(url + "/price/password=hunter2-canary")
            metrics = fetch(url + "/metrics")[1]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(20)
        with open(log) as f:
            text = f.read()
        lines = [json.loads(line) for line in text.splitlines()]
        price = next((line for line in lines if line["message"] == "price found"), {})
        refused = next((line for line in lines if line["message"] == "price refused"), {})
        good = [
            expect("answers", found == (200, "1299\n") and missing[0] == 404, found, missing),
            expect("the caller's trace goes on", price.get("trace_id") == TRACE, price),
            expect("own fields stand in the line", price.get("sku") == "C-1042" and price.get("price_cents") == 1299, price),
            expect("a personal field is masked", re.fullmatch(r"\[customer_email:[0-9a-f]{8}\]", price.get("customer.email", "")) is not None, price),
            expect("an error line has its code", refused.get("error_code") == "not_found" and refused.get("level") == "warn", refused),
            expect("a secret in a path does not come out", "hunter2-canary" not in text + metrics, text),
            expect("own metrics are exposed", 'pricing_requests_total{outcome="found"} 1' in metrics, metrics),
            expect("the exemplar points to the trace", TRACE in metrics, metrics),
            expect("exposition ends as it must", metrics.endswith("# EOF\n")),
            expect("ends in order", service.returncode == 0 and lines[-1]["message"] == "stopping", service.returncode, lines[-1:]),
        ]
        print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
        sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
