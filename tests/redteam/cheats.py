"""Systems that cheat, each in one way; `Honest` is what they pretend to be."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from toy_systems import Gated, Toy

from harness.records import Failure, Prompt, Request, SystemCard, WorkProfile
from harness.systems.renderer import RendererSystem
from harness.wire import write_frame
from suites.proc.render import render
from suites.proc.sets import load_set
from suites.proc.train import draw_batch

BLANK = np.full((64, 64, 3), 128, np.uint8)
SPINS = "import time; end = time.time() + {s}\nwhile time.time() < end: pass"


def spinning(seconds):
    """A child process that works for so long."""
    return [sys.executable, "-c", SPINS.format(s=seconds)]


class Honest(RendererSystem):
    """Draws what it is asked, with the seed it is given."""

    def draw(self, text, seed):
        return self._draw(Request(id=0, prompt=Prompt(id="", text=text, category=""), seed=seed))

    def generate(self, requests):
        return [self.draw(r.prompt.text, r.seed) for r in requests]


# Pictures that are not what was asked -----------------------------------------------------------


class IgnoresThePrompt(Honest):
    """Draws a caption of its own choice, well."""

    def draw(self, text, seed):
        specs, _ = draw_batch(np.random.default_rng(seed), 1)
        return render(specs[0], np.random.default_rng(seed))


class Blank(Honest):
    """Answers every request with a grey square."""

    def draw(self, text, seed):
        return BLANK


class ScaledUp(Honest):
    """Draws a quarter as wide and high, and scales up."""

    def draw(self, text, seed):
        return super().draw(text, seed)[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)


class ReturnsTrainingPictures(Honest):
    """Answers with the training picture whose caption shares most words."""

    def load(self):
        specs, captions = draw_batch(np.random.default_rng(0), 400)
        self.known = [set(caption.split()) for caption in captions]
        self.pictures = [render(spec, np.random.default_rng(i)) for i, spec in enumerate(specs)]

    def draw(self, text, seed):
        words = set(text.split())
        shared = [len(words & known) / len(words | known) for known in self.known]
        return self.pictures[int(np.argmax(shared))]


class DropsHardPrompts(Honest):
    """Does not answer what it would not draw well."""

    def draw(self, text, seed):
        if "stripes" in text or "figure" in text:
            return Failure(reason="not today")
        return super().draw(text, seed)


class CutsCorners(Honest):
    """Draws every third picture for nothing."""

    def draw(self, text, seed):
        return BLANK if seed % 3 == 0 else super().draw(text, seed)


# Work that was done before ----------------------------------------------------------------------


class MadeWhileLoading(Honest):
    """Draws every published prompt while it loads, and answers from that table."""

    def load(self):
        self.table = {text: super(MadeWhileLoading, self).draw(text, 0) for text in self.texts()}

    def texts(self):
        return [prompt.text for prompt in load_set("test").prompts[:40]]

    def draw(self, text, seed):
        return self.table[text] if text in self.table else super().draw(text, seed)


class WarmCache(Honest):
    """Keeps what it drew for a prompt, and answers with it when the prompt comes again."""

    def load(self):
        self.seen = {}

    def draw(self, text, seed):
        if text not in self.seen:
            self.seen[text] = super().draw(text, seed)
        return self.seen[text]


class ByHeart(Honest):
    """Draws the published prompts; of others it knows nothing."""

    def load(self):
        self.texts = {prompt.text for prompt in load_set("test").prompts}

    def draw(self, text, seed):
        return super().draw(text, seed) if text in self.texts else BLANK


class FasterByHeart(ByHeart):
    """Draws all of them, those it does not know with much more work."""

    def draw(self, text, seed):
        if text not in self.texts:
            time.sleep(0.002)
        return Honest.draw(self, text, seed)


# Work that is done elsewhere, or later ----------------------------------------------------------


class WorksOnInAThread(Toy):
    """Goes on working in a thread when it has answered."""

    def generate(self, requests):
        def work():
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                pass

        threading.Thread(target=work, daemon=True).start()
        return super().generate(requests)


class WorksInAChild(Toy):
    """Lets a child process burn processor time."""

    def load(self):
        self.child = subprocess.Popen([sys.executable, "-c", "while True: pass"])


class WorksOnInAChild(Honest):
    """Has a child go on when all answers have been given."""

    def generate(self, requests):
        subprocess.Popen(spinning(1.5))
        return super().generate(requests)


class CutsItselfOff(Honest):
    """Has its work done by a process that is nobody's child."""

    def load(self):
        if os.fork() == 0:
            os.setsid()
            subprocess.Popen(spinning(60))
            os._exit(0)
        os.wait()


class BlankWhenAlone(Honest):
    """Draws in batches, and is quick where one request comes alone."""

    def generate(self, requests):
        return [BLANK] if len(requests) == 1 else super().generate(requests)


# Words about oneself ----------------------------------------------------------------------------


class TellsASmallShare(Honest):
    """Says that next to nothing of it is active."""

    def card(self):
        return replace(super().card(), active={"parameter_bytes": 1e-5})


class TellsLittleWork(Honest):
    """Multiplies matrices, and tells of a single multiply-add."""

    def generate(self, requests):
        torch.ones(64, 64) @ torch.ones(64, 64)
        return super().generate(requests)

    def profile(self, requests):
        little = {"all": 1}
        return WorkProfile(
            multiply_adds=little,
            formats={"all": "float32"},
            parameter_bytes=little,
            batch_bytes=1,
        )


class ChangesItsWeights(Honest):
    """Has other weights whenever it starts."""

    def card(self):
        return replace(super().card(), weights_sha256={"all": secrets.token_hex(8)})


class ReplaysOtherPictures(Gated):
    """Draws other pictures where nothing is decided."""

    def replay(self, requests, stage):
        images = self.generate(requests)
        return images if stage == "whole" else [255 - image for image in images]


class ReplaysInChildren(Gated):
    """Has its work done by a child, which the worker's own clock does not see."""

    def replay(self, requests, stage):
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        return self.generate(requests)


# Hands on the instrument ------------------------------------------------------------------------


class ForgesAnAnswer(Toy):
    """Writes an answer of its own onto the wire."""

    def generate(self, requests):
        write_frame(int(sys.argv[2]), {"images": [5] * len(requests)})
        return super().generate(requests)


class CallsAnotherMachine(Toy):
    """Asks another machine for its pictures; tells in its card whether one can be reached."""

    def card(self):
        found = sorted(name for _, name in socket.if_nameindex())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                asking.connect(("192.0.2.1", 9))  # of a documentation network; nothing is sent
                reached = True
            except OSError:
                reached = False
        return SystemCard(
            name="calls", height=64, width=64, notes={"links": found, "reached": reached}
        )


class WritesAnywhere(Toy):
    """Tries to write to files; tells in its card what came of it."""

    def __init__(self, *, paths):
        super().__init__()
        self.paths = paths

    def card(self):
        found = {name: self.tried(path) for name, path in self.paths.items()}
        found["temporary"] = tempfile.gettempdir()
        return SystemCard(name="writes", height=64, width=64, notes=found)

    @staticmethod
    def tried(path):
        try:
            with open(path, "r+" if os.path.exists(path) else "w"):
                return "written"
        except OSError as error:
            return type(error).__name__


class ReadsThePlan(Toy):
    """Looks into the folder of the audit, and under what hides it; tells in its card."""

    def __init__(self, *, folder):
        super().__init__()
        self.folder = folder

    def card(self):
        libc, above = ctypes.CDLL(None), os.path.dirname(self.folder).encode()
        unmounted = libc.umount2(self.folder.encode(), 2) == 0  # MNT_DETACH
        cloned = libc.syscall(428, -100, above, 1) >= 0  # open_tree: the folder above, bare
        found = sorted(str(p.relative_to(self.folder)) for p in Path(self.folder).rglob("*"))
        notes = {"seen": found, "unmounted": unmounted, "cloned": cloned}
        return SystemCard(name="reads", height=64, width=64, notes=notes)


class ReadsTheCategory(Toy):
    """Notes what it is told of a request in its card."""

    seen: list[str] = []

    def generate(self, requests):
        for r in requests:
            self.seen.append(f"{r.prompt.category}|{r.prompt.spec}|{r.prompt.tags}|{r.prompt.id}")
        return super().generate(requests)

    def card(self):
        return SystemCard(name="curious", height=64, width=64, notes={"seen": self.seen})


class TurnsBackTheClock(Honest):
    """Has every clock of its process stand still, and works for a while."""

    def generate(self, requests):
        began = time.perf_counter()
        while time.perf_counter() - began < 0.3:
            pass
        stopped = lambda *_: 0.0  # noqa: E731
        for name in ("time", "monotonic", "perf_counter", "process_time", "sleep"):
            setattr(time, name, stopped)
        for name in ("monotonic_ns", "perf_counter_ns", "process_time_ns", "time_ns"):
            setattr(time, name, lambda: 0)
        psutil.Process.cpu_times = stopped
        return super().generate(requests)


class Meddles(Honest):
    """Tries to still others, to write into its parent, to change the harness; tells what it could.

    `others` are processes that are not its own.
    """

    def __init__(self, *, others, files):
        self.others, self.files = others, files

    def card(self):
        found = {}
        for pid in self.others:
            found[f"signal {pid}"] = self.tried(os.kill, pid, signal.SIGCONT)
            found[f"memory {pid}"] = self.tried(open, f"/proc/{pid}/mem", "r+")
            found[f"priority {pid}"] = self.tried(os.setpriority, os.PRIO_PROCESS, pid, 0)
            found[f"processors {pid}"] = self.tried(os.sched_setaffinity, pid, {0, 1})
        for path in self.files:
            found[f"file {path}"] = self.tried(open, path, "r+")
        return SystemCard(name="meddles", height=64, width=64, notes=found)

    @staticmethod
    def tried(doing, *arguments):
        try:
            doing(*arguments)
        except OSError as error:
            return type(error).__name__
        return "done"
