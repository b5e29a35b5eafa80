"""Systems that cheat, each in one way; `Honest` is what they pretend to be."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil

from harness.records import Failure, Prompt, Request, SystemCard
from harness.systems.renderer import RendererSystem
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


# Hands on the instrument ------------------------------------------------------------------------


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
