"""The report's node: started as the report says, asked as the report says, always stopped."""

import json
import subprocess
import time


class Node:
    """Answers are remembered: the kept chain does not change while it is looked at."""

    def __init__(self, start, cli):
        self.cli, self.answers = cli, {}
        self.process = subprocess.Popen(start, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while self.run("getblockchaininfo").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"the node does not start: {self.process.stderr.read().decode().strip()}")
            time.sleep(0.1)
        # The index of transactions catches up after the node answers.
        while not all(index["synced"] for index in self.ask("getindexinfo", fresh=True).values()):
            time.sleep(0.1)
        while not self.ask("getmempoolinfo", fresh=True)["loaded"]:
            time.sleep(0.1)

    def run(self, *words):
        return subprocess.run([*self.cli, *map(str, words)], capture_output=True, text=True, timeout=60)

    def ask(self, *words, fresh=False):
        """The answer to a method and its parameters; None where the node refuses."""
        if fresh or words not in self.answers:
            done = self.run(*words)
            text = done.stdout.strip()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = text
            self.answers[words] = answer if done.returncode == 0 else None
        return self.answers[words]

    def stop(self):
        if self.process.poll() is None:
            self.run("stop")
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
