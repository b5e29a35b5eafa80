"""The commands of whole audits that take seconds."""

SMALL = [
    "meter._target_=toy_systems.FlatMeter",
    "work=false",
    "suite.judge=null",
    "suite.reference=null",
    "suite.sizes.mini.core=4",
    "suite.sizes.mini.pairs=2",
    "suite.sizes.mini.max_pairs=2",
    "suite.sizes.mini.min_window_s=0.1",
    "suite.sizes.mini.idle_s=0.05",
    "suite.sizes.mini.warmup_s=0.1",
    "+suite.sizes.mini.latency_s=0.05",
    "+suite.sizes.mini.latency_requests=5",
    "+suite.sizes.mini.gate_s=0.02",
]
PAIR = ["system=[renderer,null]", "candidate=null", "baseline=renderer"]


def toys(out, *, candidate="Toy", baseline="Toy", seconds=0.0, more=()):
    return [
        "audit",
        *SMALL,
        "system=null",
        "candidate=a",
        "baseline=b",
        f"+systems.a={{_target_: toy_systems.{candidate}, batch: 4, seconds: {seconds}}}",
        f"+systems.b={{_target_: toy_systems.{baseline}, batch: 2, seconds: {seconds}}}",
        f"out={out}",
        *more,
    ]
