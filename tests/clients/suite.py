"""The client suite: clients and readers that others wrote, against a Weir started for it.

usage: suite.py [--only TEXT] [--bootstrap HOST:PORT] [--keep]

`--only` runs the checks whose name contains the text. `--bootstrap` runs the checks of the log and of
groups against another Kafka broker: that is how the suite itself was checked. `--keep` leaves the data.
"""

import argparse
import logging
import shutil
import sys

from adapters import Aiokafka, Kcat, KafkaPython, Librdkafka
from checks import Checks, Skipped
from group_admin_checks import run_group_admin_checks
from group_checks import run_group_checks
from group_edge_checks import run_group_edge_checks
from log_checks import run_log_checks


def no_kcat():
    raise Skipped("kcat is not installed and could not be installed (Debian: kcat)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--bootstrap")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    checks = Checks(options.only)

    weir = None
    if not options.bootstrap:
        from weir import Weir, binary

        weir = Weir(binary())
        weir.start()
        print(f"weir up in {weir.directory}, kafka {weir.bootstrap}", flush=True)
    bootstrap = options.bootstrap or weir.bootstrap
    try:
        adapters = [Librdkafka(bootstrap), Aiokafka(bootstrap), KafkaPython(bootstrap)]
        kcat = Kcat(bootstrap)
        if not kcat.program:
            checks.run("log/kcat", no_kcat)
            kcat = None
        run_log_checks(checks, adapters, kcat)
        run_group_checks(checks, weir, adapters)
        run_group_edge_checks(checks, weir, adapters)
        run_group_admin_checks(checks, adapters)
        if weir:
            from kip848_checks import run_kip848_checks
            from migration_checks import run_migration_checks
            from compaction_checks import run_compaction_checks
            from restart_checks import run_restart_checks
            from table_checks import run_table_checks
            from transaction_checks import run_transaction_checks

            run_kip848_checks(checks, weir, adapters)
            run_migration_checks(checks, weir, adapters)
            run_transaction_checks(checks, weir, adapters)
            run_table_checks(checks, weir, adapters, kcat)
            run_compaction_checks(checks, adapters)
            run_restart_checks(checks, weir, adapters[0])
        for adapter in adapters:
            adapter.close()
        if weir:
            checks.run("weir/stops-cleanly", stops_cleanly, weir)
    finally:
        if weir:
            weir.stop()
    if weir and not options.keep and not checks.failed:
        shutil.rmtree(weir.directory)
    sys.exit(checks.close())


def stops_cleanly(weir):
    code = weir.stop()
    if code != 0:
        raise AssertionError(f"exit code {code} after SIGTERM: {weir.tail()}")


if __name__ == "__main__":
    main()
