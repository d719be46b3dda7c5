#!/usr/bin/env python3
"""tools/install-packages: its part that runs as root, with an apt-get of ours and paths in a directory of the test.

What it must not do is leave the policy behind that keeps services from starting: that would hold for every later package of the machine.
"""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

SCRIPT = (pathlib.Path(__file__).parent / "install-packages").read_text(encoding="utf-8")
ROOT = SCRIPT.split("<<'ROOT'\n", 1)[1].split("\nROOT\n", 1)[0]
MARK = "# stellaops tools/install-packages"


class RootPart(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.dir = pathlib.Path(temp.name)
        self.policy = self.dir / "policy-rc.d"
        (self.dir / "bin").mkdir()
        (self.dir / "tmp").mkdir()
        self.script = ROOT.replace("/usr/sbin/policy-rc.d", str(self.policy)).replace("/etc/postgresql-common", str(self.dir / "pg")).replace("/run/systemd/system", str(self.dir / "none"))
        self.assertIn(str(self.policy), self.script)

    def start(self, apt_get):
        """The part in a group of its own, as a terminal would have it."""
        program = self.dir / "bin/apt-get"
        program.write_text("#!/bin/sh\n" + apt_get)
        program.chmod(0o755)
        env = {"PATH": f"{self.dir}/bin:/usr/bin:/bin", "TMPDIR": str(self.dir / "tmp")}
        # The script comes through a pipe, as in the program.
        child = subprocess.Popen(["sh", "-eu", "-s", "--", "a-package"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, start_new_session=True,
                                 preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)])  # a shell in the background ignores them
        child.stdin.write(self.script.encode())
        child.stdin.close()
        self.addCleanup(child.stdout.close)
        return child

    def left(self):
        return self.policy.exists(), os.listdir(self.dir / "tmp")

    def test_the_policy_stands_while_packages_are_unpacked_and_is_gone_after(self):
        child = self.start(f"grep -qxF '{MARK}' {self.policy} && test -x {self.policy}")
        self.assertEqual(child.wait(30), 0)
        self.assertEqual(self.left(), (False, []))

    def test_a_signal_in_the_middle_leaves_nothing(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
            with self.subTest(number):
                fifo = self.dir / f"began-{number}"
                os.mkfifo(fifo)
                child = self.start(f"echo x >{fifo}; exec sleep 100")
                fifo.read_text()
                self.assertTrue(self.policy.exists())
                os.killpg(child.pid, number)
                self.assertEqual(child.wait(30), status)
                self.assertEqual(self.left(), (False, []))

    def test_one_that_was_left_is_ours_to_remove_and_another_is_not(self):
        self.policy.write_text(f"#!/bin/sh\n{MARK}\nexit 101\n")
        self.assertEqual(self.start("exit 0").wait(30), 0)
        self.assertFalse(self.policy.exists())
        self.policy.write_text("#!/bin/sh\nexit 104\n")
        self.assertEqual(self.start("exit 0").wait(30), 0)
        self.assertEqual(self.policy.read_text(), "#!/bin/sh\nexit 104\n")

    def test_a_failure_is_told_and_leaves_nothing(self):
        self.assertEqual(self.start("exit 100").wait(30), 1)
        self.assertEqual(self.left(), (False, []))


if __name__ == "__main__":
    unittest.main()
