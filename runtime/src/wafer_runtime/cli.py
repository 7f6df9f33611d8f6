"""The `wafer` command: kernel library, a project's model, placer, old scripts."""

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wafer_runtime import console
from wafer_runtime.errors import ParamsError, UsageError
from wafer_runtime.params import load_params
from wafer_runtime.system import load_system
from wafer_runtime.units import count_text

if TYPE_CHECKING:
    from wafer_runtime.estimator.compile import Compiled

_MODES = {"train": "train", "eval": "eval", "predict": "infer"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a `wafer` command line and return the exit code."""
    args = _parser().parse_args(argv)
    console.log_to_stderr()
    return console.exit_code_of(lambda: args.action(args))


def _ops(args: argparse.Namespace) -> None:
    from wafer_runtime.report.library import describe, listing

    _print(describe(args.name) if args.name else listing())


def _partition(args: argparse.Namespace) -> None:
    _print(_compiled(args).partition.removesuffix("\n"))


def _graph(args: argparse.Namespace) -> None:
    from wafer_runtime.report.picture import svg

    writers: dict[str, Any] = {".json": lambda graph: graph.to_json(), ".svg": svg}
    path = _output(args.output, writers)
    graph = _compiled(args).graph
    _write(path, writers[path.suffix](graph))
    kernels = count_text(len(graph.kernels), "kernel")
    edges = count_text(len(graph.edges), "edge")
    print(f"Wrote {kernels}, {edges} to {path}")


def _place(args: argparse.Namespace) -> None:
    from wafer_runtime.compiler.place_file import figures, place_file

    path = _output(args.output)
    placement, solution = place_file(
        args.file, args.seconds, args.seed, args.iterations
    )
    _write(path, solution)
    kernels = count_text(len(placement.placed), "kernel")
    print(f"Wrote {kernels} to {path}\n{figures(placement)}")


def _report(args: argparse.Namespace) -> None:
    from wafer_runtime.report.metrics import find_plans, metrics

    for path, plan in find_plans(Path(args.folder)).items():
        _print(f"{'compilation:':26}{path}\n{metrics(plan, args.samples)}")


def _map(args: argparse.Namespace) -> None:
    from wafer_runtime.report.metrics import find_plans
    from wafer_runtime.report.text import mode_text
    from wafer_runtime.report.wafer_map import png, svg

    writers: dict[str, Any] = {".svg": svg, ".png": png}
    path = _output(args.output, writers)
    folder, plan = next(iter(find_plans(Path(args.folder)).items()))
    _write(path, writers[path.suffix](plan))
    kernels = count_text(len(plan.kernels), "kernel")
    print(f"Wrote {kernels} of {folder} ({mode_text(plan.mode)}) to {path}")


def _output(name: str, suffixes: Collection[str] = ()) -> Path:
    """The path of a file to write, looked at before there is something to lose.

    suffixes: those it may have; any, if there are none.
    """
    path = Path(name)
    if suffixes and path.suffix not in suffixes:
        wanted = " or ".join(suffixes)
        raise UsageError(f"-o {path}: wanted a name that ends in {wanted}")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"-o {path}: cannot be written; take another name")
    return path


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Who reads has enough, as head does; Python would tell of the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(path: Path, content: str | bytes) -> None:
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written: {error.strerror}") from None


def _exec(args: argparse.Namespace) -> None:
    from wafer_runtime.compat.script import run_script

    run_script(args.script, args.args)


def _compiled(args: argparse.Namespace) -> "Compiled":
    """The project of this folder, compiled up to kernel matching, or from the cache."""
    missing = [name for name in ("model.py", "data.py") if not Path(name).exists()]
    if missing:
        raise UsageError(
            f"{Path.cwd()}: there is no {' and no '.join(missing)} here; run wafer in "
            "the folder of a project"
        )
    sys.path.insert(0, str(Path.cwd()))
    overrides = {"model_dir": args.model_dir, "validate_only": True}
    params = load_params(args.params, _set_defaults(), overrides)
    load_system(params["runconfig"]["system"])
    console.import_tensorflow()
    from data import input_fn  # type: ignore[import-not-found]
    from model import model_fn  # type: ignore[import-not-found]

    from wafer_runtime.estimator import CerebrasEstimator

    model_dir = params["runconfig"]["model_dir"]
    estimator = CerebrasEstimator(model_fn, model_dir, params=params)
    return estimator.validate(input_fn, _MODES[args.mode])


def _set_defaults() -> Any:
    if not Path("utils.py").exists():
        return None
    import utils  # type: ignore[import-not-found]

    if not hasattr(utils, "set_defaults"):
        raise ParamsError("utils.py: has no set_defaults(params); run.py needs one too")
    return utils.set_defaults


def _parser() -> argparse.ArgumentParser:
    parser = console.Parser(
        prog="wafer", description=__doc__, epilog=console.EXIT_CODES, allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Any, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False
        )
        made.set_defaults(action=action)
        return made

    ops = command("ops", _ops, "list what the wafer can run, or explain one of it")
    ops.add_argument("name", nargs="?", help="a kernel, layer, operation or optimizer")
    partition = command("partition", _partition, "show what runs where, and why")
    graph = command("graph", _graph, "write the kernel graph, as JSON or a picture")
    graph.add_argument("-o", "--output", metavar="FILE", default="kernel_graph.svg",
                       help="FILE.json or FILE.svg (default: %(default)s)")  # fmt: skip
    report = command("report", _report, "print the key metrics of a compilation")
    report.add_argument("--samples", type=_whole, metavar="N",
                        help="how many samples the dataset has")  # fmt: skip
    wafer_map = command("map", _map, "draw where the kernels are, as SVG or PNG")
    wafer_map.add_argument("-o", "--output", metavar="FILE", default="wafer_map.png",
                           help="FILE.svg or .png (default: %(default)s)")  # fmt: skip
    for made in (report, wafer_map):
        made.add_argument("folder", metavar="DIR",
                          help="a model_dir, or a cs_<hash> in it")  # fmt: skip
    place = command("place", _place, "place the kernels of an ISPD 2020 .kgraph")
    _add_place_flags(place.add_argument)
    script = command("exec", _exec, "run a script written for tf.estimator, as it is")
    script.add_argument("script", metavar="SCRIPT.py")
    rest = script.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS",
                               help="its own arguments")  # fmt: skip
    rest.required = False  # or a missing script is told as two missing arguments
    for made in (partition, graph):
        _add_project_flags(made)
    return parser


def _add_place_flags(add: Any) -> None:
    add("file", metavar="FILE.kgraph", help="kernels, edges, fabric and weights")
    add("-o", "--output", metavar="FILE", required=True,
        help="the contest's solution file")  # fmt: skip
    add("--seconds", type=console.number_above_0, default=10.0, metavar="N",
        help="how long to search (default: %(default)g)")  # fmt: skip
    add("--seed", type=_whole, default=0, metavar="N",
        help="of the search's random numbers (default: %(default)s)")  # fmt: skip
    add("--iterations", type=_whole, metavar="N",
        help="how many to do, instead of --seconds; gives a result again")  # fmt: skip


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: wanted a whole number, at least 0")
    return int(text)


def _add_project_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--mode", choices=_MODES, default="train",
        help="the graph of which mode (default: %(default)s)")  # fmt: skip
    add("-p", "--params", default="configs/params.yaml", metavar="FILE",
        help="the configuration (default: %(default)s)")  # fmt: skip
    add("--model_dir", metavar="DIR", help="where compilations are kept")
