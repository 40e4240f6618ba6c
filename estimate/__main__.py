"""What a run of the pipeline would take: time, disk and memory by stage, from measured rates and published sizes.

    python -m estimate [key=value...] [--bandwidth MBIT]
    python -m estimate --measure [BASE...]

The first prints an estimate for params.yaml with these settings; estimate/sizes.py has the sizes. The second takes some
minutes: it measures the rates of this machine and its devices and writes them to estimate/rates.json. The file in git is
of two CPU cores. BASE is a base model as in params.yaml.
"""

import argparse
import logging

from estimate.inputs import add_arguments, estimate_of, overridden
from estimate.report import report


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m estimate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words", nargs="*", metavar="KEY=VALUE | BASE", help="settings to estimate with; with --measure, base models"
    )
    parser.add_argument("--measure", action="store_true", help="measure this machine and write the rates")
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        from estimate import measure  # it imports torch, which an estimate does without

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        measure.write(measure.measure(arguments.words or measure.BASES), arguments.rates)
        return
    estimate = estimate_of(overridden(arguments.words), arguments)
    print(report(estimate, {"params.yaml" if not arguments.words else "these settings": estimate.costs()}))


if __name__ == "__main__":
    main()
