"""Workers on toy systems: started on demand, all closed at the end."""

import contextlib

from harness.worker import Worker


@contextlib.contextmanager
def workers(folder, module, name, **always):
    """Gives a function that starts a worker on a class of a module, and loads its system."""
    with contextlib.ExitStack() as opened:

        def begin(system, load=True, network=True, **config):
            worker = Worker(
                name,
                {"_target_": system if "." in system else f"{module}.{system}", **config},
                log=folder / f"{name}.log",
                network=network,
                scratch=folder / "run/scratch",
                hidden=folder / "run",
                **always,
            )
            opened.enter_context(worker)
            if load:
                worker.load()
            return worker

        yield begin
